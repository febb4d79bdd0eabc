"""What is known of peers, for those who ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread

from lifecycle.board import Board
from lifecycle.flags import Flag, Flags
from lifecycle.requests import PeerPage, PeerRow, RuntimeRow
from lifecycle.resolve import Resolver
from lifecycle.session import Session, Sessions, SessionUnreadable
from lifecycle.states import PeerState
from lifecycle.terminals import Terminals
from transport.identity import Identity
from transport.profile import Profile
from transport.registry import Registry
from transport.spool.spool import Spool
from transport.vocabulary import Hold, ScreenState

LOOKS: Final = 8
LIVE_STATES = frozenset({PeerState.LIVE, PeerState.BUSY, PeerState.BOOTING, PeerState.BLOCKED})


@dataclass(frozen=True, slots=True)
class Fleet:
    """Answers questions about the peers of one host.

    Only the supervisor looks at screens: who looks takes the lock of the pane, and deliveries need it.
    """

    registry: Registry
    resolver: Resolver
    flags: Flags
    sessions: Sessions
    terminals: Terminals
    spool: Spool
    board: Board
    is_supervised: Callable[[], bool]

    async def peers(self, query: str | None, live_only: bool, offset: int, limit: int) -> PeerPage:
        """Return some peers, by name; `live_only` keeps those with a running session."""
        if live_only:
            return await self._live_peers(query, offset, limit)
        profiles, total = self.registry.page(query, offset, limit)
        return PeerPage(await self._rows(profiles), total, offset)

    async def _live_peers(self, query: str | None, offset: int, limit: int) -> PeerPage:
        names = {identity.personality for identity in await anyio.to_thread.run_sync(self.sessions.identities)}
        found = [profile for name in sorted(names) if (profile := self.registry.get(name)) is not None]
        if query:
            text = query.casefold()
            found = [each for each in found if text in f"{each.name} {each.description}".casefold()]
        live = [each for each in found if self._is_live(each)]
        return PeerPage(await self._rows(live[offset : offset + limit]), len(live), offset)

    def _is_live(self, profile: Profile) -> bool:
        known = (self._known(Identity(runtime, profile.name)) for runtime in profile.runtimes)
        return any(isinstance(each, Session) or each[0] in LIVE_STATES for each in known)

    async def _rows(self, profiles: Sequence[Profile]) -> tuple[PeerRow, ...]:
        """Return the rows of some peers; the screens of live sessions are looked at side by side."""
        depths = await self.spool.waiting()
        rows: dict[str, PeerRow] = {}
        at_once = anyio.CapacityLimiter(LOOKS)

        async def fill(profile: Profile) -> None:
            async with at_once:
                rows[profile.name] = await self.row(profile, depths)

        async with anyio.create_task_group() as tasks:
            for profile in profiles:
                tasks.start_soon(fill, profile)
        return tuple(rows[profile.name] for profile in profiles)

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
        known = self._known(identity)
        if not isinstance(known, Session):
            return known
        if not self.is_supervised():
            return PeerState.LIVE, None
        match await self.terminals.glance(known):
            case ScreenState.BUSY:
                return PeerState.BUSY, None
            case ScreenState.ASKS:
                return PeerState.BLOCKED, "asks for a permission or an answer"
            case _:
                return PeerState.LIVE, None

    def _known(self, identity: Identity) -> tuple[PeerState, str | None] | Session:
        """Return what is known of an identity without a look at its screen; the session where only that tells."""
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
            detail = status.detail if status.hold is Hold.UNKNOWN else None
            return (PeerState.BOOTING if status.is_booting else PeerState.ASLEEP), detail
        if status.hold in (Hold.BLOCKED, Hold.ASKS):
            return PeerState.BLOCKED, status.detail
        if not session.is_ready and status.is_booting:
            return PeerState.BOOTING, status.detail
        return session
