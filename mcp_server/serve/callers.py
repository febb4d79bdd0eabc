"""Who is calling: kernel credentials, ancestry, credential, in that order (contract, section 15)."""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from lifecycle.attribution import LEFT_OVER
from lifecycle.requests import NotAllowed
from mcp_server.serve.credentials import BadCredential, Bearer, Credentials
from mcp_server.serve.peercred import PeerProcess
from mcp_server.serve.turns import Turns
from mcp_server.service import Service
from transport.bulkhead import Area, NoAnswer
from transport.identity import OPERATOR, Identity

UNEXPANDED: Final = "${"
THREADS: Final = 8


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a call is made; `identity` None is the operator and nobody else.

    An operator who stands in a peer's directory has both: messages go out in the peer's name,
    and the operator's verbs are allowed. `turns` keeps the sends of its connection in their order.
    """

    identity: Identity | None
    is_operator: bool
    peer_pid: int | None = None
    generation: int = 0
    turns: Turns = field(default_factory=Turns, compare=False, repr=False)

    @property
    def sender(self) -> Identity:
        return self.identity or OPERATOR


@dataclass(frozen=True, slots=True)
class Claim:
    """What a caller says about itself, to be checked."""

    credential: str | None = None
    cwd: str | None = None


class SocketPeer:
    """The process at the other end of one unix connection; its session is looked up once."""

    def __init__(self, process: PeerProcess) -> None:
        self.process = process
        self._pane: Identity | None = None
        self._is_resolved = process.pid is None

    async def pane(self, service: Service, limiter: anyio.CapacityLimiter) -> Identity | None:
        """Return the session this process belongs to, None outside every session and for one that has ended."""
        if not self._is_resolved and self.process.pid is not None:
            pane = await anyio.to_thread.run_sync(service.resolve_pane, self.process.pid, limiter=limiter)
            # Looked up by number: it counts only if that still was its own.
            self._pane = pane if self.process.is_there else None
            self._is_resolved = True
        return self._pane


class Callers:
    """Turns evidence and claims into a Caller, or raises NotAllowed or BadCredential."""

    def __init__(self, service: Service, credentials: Credentials) -> None:
        self._service = service
        self._credentials = credentials
        # Threads of its own: work that hangs elsewhere keeps nobody from connecting.
        self._limiter = anyio.CapacityLimiter(THREADS)

    async def on_socket(self, peer: SocketPeer, claim: Claim) -> Caller:
        """Decide for a connection on the unix socket; a session's process is its peer, whatever it claims."""
        pid = peer.process.pid
        bearer = self._bearer(claim.credential)
        pane = await peer.pane(self._service, self._limiter)
        if pane is not None:
            if bearer is not None and bearer.identity != pane:
                raise NotAllowed(f"this process runs in the session of {pane}; it cannot act with another credential")
            return self._peer(pane, pid)
        if pid is not None and (bearer is None or bearer.identity is None) and self._service.is_branded(pid):
            raise NotAllowed(LEFT_OVER)
        if bearer is not None:
            return self._named(bearer, pid)
        standing = await self._standing(pid, claim.cwd) if claim.cwd else None
        if not peer.process.is_there:
            # Not a session's process as far as can be seen, but nothing could be seen: that makes no operator.
            raise NotAllowed(
                "the process that connected has ended, so nobody can tell who it was;"
                " stay until you are answered, or send a credential"
            )
        return Caller(standing, is_operator=True, peer_pid=pid)

    def on_tcp(self, credential: str | None) -> Caller:
        """Decide for a TCP connection, which always needs a credential."""
        bearer = self._bearer(credential)
        if bearer is None:
            raise BadCredential("a credential is needed: send 'Authorization: Bearer <credential>'")
        return self._named(bearer, None)

    def check(self, caller: Caller) -> None:
        """Raise NotAllowed when the caller's peer has been removed since it connected, also if there is a new one."""
        if caller.identity is None:
            return
        if not self._service.knows(caller.identity):
            raise NotAllowed(f"{caller.identity} is not registered any more; an operator can create it again")
        if not caller.is_operator and self._credentials.generation(caller.identity) != caller.generation:
            raise NotAllowed(f"the {caller.identity} that connected was removed; connect again as the new one")

    def _bearer(self, credential: str | None) -> Bearer | None:
        # A client that does not know the variable sends the reference itself.
        if not credential or credential.startswith(UNEXPANDED):
            return None
        return self._credentials.verify(credential)

    def _named(self, bearer: Bearer, pid: int | None) -> Caller:
        if bearer.identity is None:
            return Caller(None, is_operator=True, peer_pid=pid)
        return self._peer(bearer.identity, pid)

    def _peer(self, identity: Identity, pid: int | None) -> Caller:
        generation = self._credentials.generation(identity)
        caller = Caller(identity, is_operator=False, peer_pid=pid, generation=generation)
        self.check(caller)
        return caller

    async def _standing(self, pid: int | None, claimed: str) -> Identity | None:
        """The peer in whose directory the process stands."""
        directory = _directory_of(pid, claimed)
        if directory is None or not directory.is_absolute():
            return None
        try:
            files = self._service.bulkhead.of(Area.CALLER, directory)
            return await files.run(directory, partial(self._service.peer_at, directory))
        except NoAnswer as error:
            problem = f"{directory} {error.problem}, so nobody can tell whose directory it is; ask from another one"
            raise NotAllowed(problem) from error


def _directory_of(pid: int | None, claimed: str) -> Path | None:
    """Where a process stands; where the kernel can tell, its word counts."""
    if sys.platform.startswith("linux") and pid is not None:
        try:
            return Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            return None
    return Path(claimed)
