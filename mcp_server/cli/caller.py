"""Who calls, where no server can tell: by ancestry, by credential, by place (contract, section 15)."""

import os
from dataclasses import dataclass
from pathlib import Path

from lifecycle.attribution import LEFT_OVER, Attribution, listening, recorded
from lifecycle.flags import Flags
from lifecycle.requests import NotAllowed, UnknownPeer
from lifecycle.resolve import Resolver
from lifecycle.session import Sessions
from mcp_server.cli.context import Context
from mcp_server.serve.credentials import BadCredential, Bearer, load_credentials
from transport.brand import hard_limit
from transport.identity import OPERATOR, Identity, check_personality, parse_identity
from transport.paths import Root
from transport.registry import Registry


@dataclass(frozen=True, slots=True)
class LocalCallers:
    """Decides as the server does on its socket, from the files of one root."""

    context: Context
    root: Root
    registry: Registry

    def sender(self, claimed: str | None) -> Identity:
        """Return on whose behalf this process sends; `claimed` is what `--from` says.

        Raises NotAllowed (a session's process, or the bearer of a peer's credential, claims another
        name), UnknownPeer, InvalidInput or BadCredential.
        """
        bound = self.bound()
        if bound is not None:
            if claimed not in (None, str(bound), bound.personality):
                raise NotAllowed(f"from: you are {bound} and cannot send as {claimed!r:.60}")
            if not self._knows(bound):
                raise NotAllowed(f"{bound} is not registered any more; an operator can create it again")
            return bound
        if claimed is not None:
            return self._claimed(claimed)
        standing = None if self.context.cwd is None else self._attribution().of_directory(Path(self.context.cwd))
        return standing or OPERATOR

    def bound(self) -> Identity | None:
        """Return the peer that this process is and nobody else, None for the operator."""
        bearer = self._bearer()
        attribution = self._attribution()
        pane = attribution.of_process(os.getpid())
        if pane is not None:
            if bearer is not None and bearer.identity != pane:
                raise NotAllowed(f"this process runs in the session of {pane}; it cannot act with another credential")
            return pane
        if bearer is not None and bearer.identity is not None:
            return bearer.identity
        if attribution.is_branded(os.getpid()):
            raise NotAllowed(LEFT_OVER)
        if bearer is not None:
            return None
        # The environment binds its bearer; it never makes anybody an operator.
        declared = self.context.environ.get("PEER_IDENTITY")
        return parse_identity(declared, "PEER_IDENTITY") if declared else None

    def _bearer(self) -> Bearer | None:
        token = self.context.credential
        if token is None or token.startswith("${"):
            return None
        if not self.root.secret.exists():
            raise BadCredential(f"PEERWAKE_CREDENTIAL is set, and {self.root.secret} is gone; unset it or restore that")
        return load_credentials(self.root.secret).verify(token)

    def _attribution(self) -> Attribution:
        return Attribution(
            lambda: recorded(Sessions(self.root)) if self.root.state.is_dir() else [],
            self.registry,
            lambda: listening(self.root),
            hard_limit(1),
        )

    def _claimed(self, name: str) -> Identity:
        try:
            profile = Resolver(self.registry, Flags(self.root)).profile(check_personality(name, "from"))
        except UnknownPeer:
            # As with a server: a name may have a dash of its own, so it is looked up as a name first.
            if "-" in name and self._knows(identity := parse_identity(name, "from")):
                return identity
            raise
        return Identity(profile.default_runtime, profile.name)

    def _knows(self, identity: Identity) -> bool:
        profile = self.registry.get(identity.personality)
        return profile is not None and identity.runtime in profile.runtimes
