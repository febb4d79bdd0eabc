"""What is known of peers and queues, for those who ask."""

from dataclasses import dataclass

import anyio
import anyio.to_thread

from lifecycle.board import Board
from lifecycle.flags import Flag, Flags
from lifecycle.requests import (
    MessageReport,
    NoSuchMessage,
    PeerPage,
    PeerRow,
    QueueRow,
    RuntimeRow,
)
from lifecycle.resolve import Resolver
from lifecycle.session import Sessions, SessionUnreadable
from lifecycle.states import PeerState
from lifecycle.terminals import Terminals
from transport.clock import Clock, iso
from transport.identity import Identity
from transport.profile import Profile
from transport.registry import Registry
from transport.spool.records import Record
from transport.spool.spool import Spool
from transport.vocabulary import Hold, ScreenState

LIVE_STATES = frozenset({PeerState.LIVE, PeerState.BUSY, PeerState.BOOTING, PeerState.BLOCKED})


@dataclass(frozen=True, slots=True)
class Fleet:
    """Answers questions about the peers of one host."""

    registry: Registry
    resolver: Resolver
    flags: Flags
    sessions: Sessions
    terminals: Terminals
    spool: Spool
    board: Board
    clock: Clock

    async def peers(self, query: str | None, live_only: bool, offset: int, limit: int) -> PeerPage:
        """Return some peers, by name; `live_only` keeps those with a running session."""
        if live_only:
            return await self._live_peers(query, offset, limit)
        profiles, total = self.registry.page(query, offset, limit)
        depths = await self.spool.waiting()
        rows = [await self.row(profile, depths) for profile in profiles]
        return PeerPage(tuple(rows), total, offset)

    async def _live_peers(self, query: str | None, offset: int, limit: int) -> PeerPage:
        names = {identity.personality for identity in await anyio.to_thread.run_sync(self.sessions.identities)}
        found = [profile for name in sorted(names) if (profile := self.registry.get(name)) is not None]
        if query:
            text = query.casefold()
            found = [each for each in found if text in f"{each.name} {each.description}".casefold()]
        depths = await self.spool.waiting()
        rows = [await self.row(profile, depths) for profile in found]
        live = [row for row in rows if any(each.state in LIVE_STATES for each in row.runtimes)]
        return PeerPage(tuple(live[offset : offset + limit]), len(live), offset)

    async def peer(self, name: str) -> PeerRow:
        """Return one peer; raises UnknownPeer."""
        return await self.row(self.resolver.profile(name), await self.spool.waiting())

    async def row(self, profile: Profile, depths: dict[Identity, int]) -> PeerRow:
        """Return one peer's row, its queue depths taken from `depths`."""
        rows = []
        for runtime in profile.runtimes:
            identity = Identity(runtime, profile.name)
            state, detail = await self.presence(identity)
            rows.append(RuntimeRow(runtime, state, depths.get(identity, 0), detail))
        return PeerRow(
            name=profile.name,
            host=profile.host,
            tenant_id=profile.tenant_id,
            intelligence=profile.intelligence,
            wake_policy=profile.wake_policy,
            default_runtime=profile.default_runtime,
            description=profile.description,
            cwd=str(profile.cwd),
            runtimes=tuple(rows),
        )

    async def presence(self, identity: Identity) -> tuple[PeerState, str | None]:
        """Return what an identity is doing and, where there is more to say, the detail."""
        if self.flags.is_set(identity, Flag.STOPPED):
            return PeerState.STOPPED, None
        if self.flags.is_set(identity, Flag.FAILED):
            return PeerState.FAILED, self.flags.text(identity, Flag.FAILED) or None
        try:
            session = self.sessions.live(identity)
        except SessionUnreadable as error:
            return PeerState.BLOCKED, str(error)
        status = self.board.status(identity)
        if session is None:
            return (PeerState.BOOTING if status.is_booting else PeerState.ASLEEP), None
        if status.hold in (Hold.BLOCKED, Hold.ASKS):
            return PeerState.BLOCKED, status.detail
        if not session.is_ready and status.is_booting:
            return PeerState.BOOTING, status.detail
        match await self.terminals.glance(session):
            case ScreenState.BUSY:
                return PeerState.BUSY, None
            case ScreenState.ASKS:
                return PeerState.BLOCKED, "asks for a permission or an answer"
            case _:
                return PeerState.LIVE, None

    async def queue(self, personality: str | None) -> tuple[QueueRow, ...]:
        """Return the queues of one peer, or all that are not empty; raises UnknownPeer."""
        if personality is None:
            dead = {record.message.recipient for record in await self.spool.dead(None)}
            identities = sorted({*await self.spool.waiting(), *dead})
        else:
            profile = self.resolver.profile(personality)
            identities = [Identity(runtime, personality) for runtime in profile.runtimes]
        return tuple([await self._queue_row(identity) for identity in identities])

    async def _queue_row(self, identity: Identity) -> QueueRow:
        view = await self.spool.queue(identity, self.clock.wall())
        profile = self.registry.get(identity.personality)
        hold: str | None = self.board.status(identity).hold if view.depth else None
        if view.depth and self.flags.is_set(identity, Flag.STOPPED):
            hold = Hold.STOPPED
        return QueueRow(
            identity=str(identity),
            host=profile.host if profile else "",
            tenant_id=profile.tenant_id if profile else "",
            depth=view.depth,
            in_flight=view.in_flight,
            head_age_seconds=view.head_age_seconds,
            last_receipt_at=None if view.last_receipt_at is None else iso(view.last_receipt_at),
            dead=view.dead,
            hold=hold,
        )

    async def record(self, message_id: str) -> Record:
        """Return one message with its body and history; raises NoSuchMessage."""
        record = await self.spool.message(message_id)
        if record is None:
            raise NoSuchMessage(f"there is no message {message_id!r:.60}; settled messages are kept for some days")
        return record

    async def message(self, message_id: str) -> MessageReport:
        """Return one message's history; raises NoSuchMessage."""
        return self.report(await self.record(message_id))

    async def dead_letters(self, personality: str | None) -> tuple[MessageReport, ...]:
        """Return the dead letters of one peer or of all; raises UnknownPeer."""
        if personality is None:
            return tuple(self.report(record) for record in await self.spool.dead(None))
        profile = self.resolver.profile(personality)
        found: list[Record] = []
        for runtime in profile.runtimes:
            found += await self.spool.dead(Identity(runtime, personality))
        return tuple(self.report(record) for record in found)

    def report(self, record: Record) -> MessageReport:
        """Return a record as it is shown: without its body, times in ISO 8601."""
        message = record.message
        profile = self.registry.get(message.recipient.personality)
        return MessageReport(
            message_id=message.id,
            sender=str(message.sender),
            recipient=str(message.recipient),
            state=record.state,
            stage=record.stage,
            attempts=record.attempts,
            accepted_at=iso(message.accepted_at),
            settled_at=None if record.settled_at is None else iso(record.settled_at),
            reason=record.reason,
            host=profile.host if profile else "",
            tenant_id=profile.tenant_id if profile else "",
            events=tuple((iso(at), event, detail) for at, event, detail in record.events),
        )
