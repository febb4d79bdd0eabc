"""What the command does where no server runs: the same rules, on the files themselves."""

import os
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from lifecycle.flags import Flag, Flags
from lifecycle.limits import Limits
from lifecycle.reports import report, whole
from lifecycle.requests import DeadLetter, NoSuchMessage, NotAllowed, Refused, SendRequest, SendResult
from lifecycle.resolve import Resolver
from lifecycle.session import Sessions, SessionUnreadable
from lifecycle.states import PeerState, SendStatus
from mcp_server import settings
from mcp_server.cli.caller import LocalCallers
from mcp_server.cli.context import Context
from mcp_server.tools.messages import send_request
from transport.clock import SystemClock, iso
from transport.identity import Identity
from transport.message import Draft, accept, check_attachment
from transport.paths import Root
from transport.profile import Profile, host
from transport.registry import Registry
from transport.spool.faults import SpoolError
from transport.spool.records import Accepted, Record, Which
from transport.spool.store import SpoolStore
from transport.vocabulary import Hold, MessageState

UNKNOWN = "unknown"


class Offline:
    """One root without a server. Raises RootUnusable or errors of the registry and the spool."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.root = Root(Path(context.home))
        self.root.check_owner()
        self.clock = SystemClock()
        self.registry = Registry(self.root, self.clock)
        self.flags = Flags(self.root)
        self.resolver = Resolver(self.registry, self.flags)

    @cached_property
    def store(self) -> SpoolStore:
        """The spool, opened at its first use and closed by the end of the process."""
        self.root.prepare()
        return SpoolStore(self.root.spool)

    @cached_property
    def limits(self) -> Limits:
        return settings.load(self.root, self.context.environ).limits

    @property
    def has_spool(self) -> bool:
        return self.root.spool.exists()

    def _with_services(self, recipient: Identity) -> Resolver:
        """Return a resolver that knows whether the recipient is a service, reading the runtimes only if it can be."""
        if not (self.root.runtimes / f"{recipient.runtime}.toml").exists():
            return self.resolver
        from lifecycle.runtimes.table import load_table

        return Resolver(self.registry, self.flags, load_table(self.root.runtimes).services())

    def send(self, args: dict[str, Any], greeted: str | None = None) -> dict[str, Any]:
        """Accept one message under the rules of the server and return the same result as it would.

        A repetition must come from the same sender, or its key would not be recognised: `greeted`.
        """
        request = send_request({name: value for name, value in args.items() if name != "from"}, None)
        for path in request.draft.attachments:
            check_attachment(path)
        sender = self._sender(args.get("from"), greeted)
        try:
            recipient = self._recipient(sender, request)
        except Refused:
            repeated = self._repeated(sender, request.draft)
            if repeated is None:
                raise
            return self._sent(repeated)
        message = accept(request.draft, sender, recipient, hops=0, now=self.clock.wall())
        return self._sent(self.store.enqueue(message, cap=self.limits.queue_cap, hop_limit=self.limits.hop_limit))

    def _sender(self, asked: str | None, greeted: str | None) -> Identity:
        sender = LocalCallers(self.context, self.root, self.registry).sender(asked)
        if greeted is not None and asked is None and str(sender) != greeted:
            raise NotAllowed(f"the server took this process for {greeted}, its files say {sender}")
        return sender

    def _recipient(self, sender: Identity, request: SendRequest) -> Identity:
        """Return who is meant; raises every Refused there is before anything is written."""
        _, recipient = self.resolver.identity(request.personality, request.runtime)
        self.resolver.refuse_self(sender, recipient)
        self._with_services(recipient).refuse_unwakeable(recipient)
        return recipient

    def _repeated(self, sender: Identity, draft: Draft) -> Accepted | None:
        """Return the accepted message that a refused call repeats by its key, None if none is known."""
        if draft.idempotency_key is None or not self.has_spool:
            return None
        try:
            return self.store.repeated(sender, draft.idempotency_key, self.clock.wall())
        except SpoolError:
            return None

    def _sent(self, accepted: Accepted) -> dict[str, Any]:
        """Return the result of an accepted message, or of the first one that it repeats; raises DeadLetter."""
        message = accepted.message
        first = self.store.message(message.id) if accepted.duplicate else None
        if first is not None and first.state is MessageState.DEAD:
            raise DeadLetter(f"{message.id} was given up: {first.reason}; see: peerwake queue show {message.id}")
        delivered = first is not None and first.state is MessageState.CONSUMED
        profile = self.registry.get(message.recipient.personality)
        result = SendResult(
            message_id=message.id,
            status=SendStatus.DELIVERED if delivered else SendStatus.QUEUED,
            personality=message.recipient.personality,
            runtime=message.recipient.runtime,
            host=host() if profile is None else profile.host,
            woke=False,
            queue_depth=accepted.depth,
            reason=None if delivered else Hold.NO_SUPERVISOR,
            at=iso(self.clock.wall()),
            removed_controls=message.removed_controls,
            duplicate=accepted.duplicate,
        )
        return asdict(result)

    def peers(self, query: str | None, live_only: bool) -> list[dict[str, Any]]:
        """Return the rows of `list`, a state that the files do not tell being `unknown`."""
        profiles, _ = self.registry.page(query, 0, len(self.registry.names()))
        depths = self.store.waiting() if self.has_spool else {}
        rows = [self._row(profile, depths) for profile in profiles]
        return [row for row in rows if not live_only or any(one["state"] == PeerState.LIVE for one in row["runtimes"])]

    def queues(self, name: str | None) -> list[dict[str, Any]]:
        """Return the queues of one peer, or all that are not empty; raises UnknownPeer."""
        if name is not None:
            found = self._identities(name)
        else:
            found = tuple(self.store.queues(self.clock.wall())) if self.has_spool else ()
        return [self._queue(identity) for identity in found] if self.has_spool else []

    def _identities(self, name: str) -> tuple[Identity, ...]:
        """Return the presences of a peer, and of one that was removed those that left something."""
        left = self.store.queues(self.clock.wall()) if self.has_spool else {}
        own = [identity for identity in left if identity.personality == name]
        declared = () if own and self.registry.get(name) is None else self.resolver.profile(name).identities
        return tuple(dict.fromkeys((*declared, *own)))

    def dead(self, name: str | None, older_seconds: float, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Return the newest dead letters of one peer or of all, and how many there are in all."""
        if not self.has_spool:
            return [], 0
        recipients = None if name is None else self._identities(name)
        records, total = self.store.letters(Which(recipients, self.clock.wall() - older_seconds), limit)
        return [asdict(report(record, self._whose(record))) for record in records], total

    def message(self, message_id: str) -> dict[str, Any]:
        """Return one message with its history and its body; raises NoSuchMessage."""
        record = self.store.message(message_id) if self.has_spool else None
        if record is None:
            raise NoSuchMessage(f"there is no message {message_id!r:.60}; settled messages are kept for some days")
        return whole(record, self._whose(record))

    def _whose(self, record: Record) -> Profile | None:
        return self.registry.get(record.message.recipient.personality)

    def _row(self, profile: Profile, depths: dict[Identity, int]) -> dict[str, Any]:
        return {
            "name": profile.name,
            "host": profile.host,
            "tenant_id": profile.tenant_id,
            "intelligence": profile.intelligence,
            "wake_policy": profile.wake_policy,
            "default_runtime": profile.default_runtime,
            "description": profile.description,
            "cwd": os.fspath(profile.cwd),
            "runtimes": [self._presence(identity, depths.get(identity, 0)) for identity in profile.identities],
        }

    def _presence(self, identity: Identity, depth: int) -> dict[str, Any]:
        state, detail = self._state(identity)
        shown = {"runtime": identity.runtime, "state": str(state), "queue_depth": depth}
        return shown | ({"detail": detail} if detail else {})

    def _state(self, identity: Identity) -> tuple[str, str | None]:
        if self.flags.is_set(identity, Flag.STOPPED):
            return PeerState.STOPPED, None
        if self.flags.is_set(identity, Flag.FAILED):
            return PeerState.FAILED, self.flags.text(identity, Flag.FAILED) or None
        try:
            session = Sessions(self.root).live(identity)
        except SessionUnreadable as error:
            return UNKNOWN, str(error)
        return (PeerState.ASLEEP if session is None else PeerState.LIVE), None

    def _queue(self, identity: Identity) -> dict[str, Any]:
        view = self.store.queue(identity, self.clock.wall())
        received = None if view.last_receipt_at is None else iso(view.last_receipt_at)
        hold = (self.resolver.unwakeable(identity) or Hold.NO_SUPERVISOR) if view.depth else None
        shown = {name: value for name, value in asdict(view).items() if name != "not_before"}
        return shown | {"identity": str(identity), "last_receipt_at": received, "hold": hold, "detail": None}
