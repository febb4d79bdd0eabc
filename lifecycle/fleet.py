"""What is known of peers, for those who ask."""

from dataclasses import dataclass

import anyio
import anyio.to_thread

from lifecycle.board import Board
from lifecycle.flags import Flag, Flags
from lifecycle.requests import PeerPage, PeerRow, RuntimeRow
from lifecycle.resolve import Resolver
from lifecycle.session import Sessions, SessionUnreadable
from lifecycle.states import PeerState
from lifecycle.terminals import Terminals
from transport.identity import Identity
from transport.profile import Profile
from transport.registry import Registry
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
        if session is not None and (wedged := self.board.wedged(identity)) is not None:
            return PeerState.BLOCKED, wedged
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
