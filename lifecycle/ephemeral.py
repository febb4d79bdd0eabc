"""The drain of an ephemeral worker: each task gets a fresh session of its own, one at a time, in order."""

from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.to_thread

from lifecycle.deck import Deck, Progress
from lifecycle.flags import Flag
from lifecycle.requests import CrashLooping, PeerStopped, UnknownPeer
from lifecycle.session import Session, SessionUnreadable
from lifecycle.states import Mode
from lifecycle.wake import AlreadyWaking, SessionBlocked, WakeFailed
from transport.files import LockHeld
from transport.identity import Identity
from transport.process import DeadlinePassed
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone, TmuxRefused, TmuxUnknown
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

LOOK_SECONDS: Final = 0.1


@dataclass(slots=True)
class EphemeralDrain:
    """Works until the queue is empty; `poke` makes it look again at once."""

    deck: Deck
    identity: Identity
    poked: anyio.Event = field(default_factory=anyio.Event)
    is_done: bool = False

    def poke(self) -> None:
        self.poked.set()

    def done(self) -> None:
        """The worker says that its task is done."""
        self.is_done = True
        self.poke()

    async def run(self) -> None:
        """Give each task a session until the queue is empty or the identity may not be woken."""
        with self.deck.board.on_send(self.identity, self._arm):
            try:
                while await self._step():
                    pass
            finally:
                self.deck.board.clear(self.identity)

    def _arm(self) -> None:
        self.deck.flags.set(self.identity, Flag.ARMED)
        self.poke()

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.poked.wait()
        if self.poked.is_set():
            self.poked = anyio.Event()

    async def _hold(self, hold: Hold, detail: str | None, seconds: float = 1.0) -> None:
        self.deck.board.update(self.identity, hold=hold, detail=detail)
        await self._pause(seconds)

    async def _step(self) -> bool:
        """Work on one task; False when there is nothing more to do for now."""
        try:
            live = await anyio.to_thread.run_sync(self.deck.sessions.live, self.identity)
            lease = await self._lease(live)
            if lease is None:
                return await self._wait_for_head(live)
            session = await self._session_for(lease, live)
            if session is not None:
                await self._work(session, lease)
        except (PeerStopped, CrashLooping, UnknownPeer):
            return False
        except SessionBlocked as blocked:
            await self._hold(Hold.BLOCKED, str(blocked))
        except (AlreadyWaking, TmuxUnknown, TmuxRefused, SessionUnreadable, DeadlinePassed, LockHeld) as error:
            await self._hold(Hold.UNKNOWN, str(error))
        return True

    async def _lease(self, live: Session | None) -> Lease | None:
        """Return the task in work, or the head if no conversation is live that is not a task's."""
        deck = self.deck
        lease = await deck.spool.leased(self.identity)
        if lease is not None:
            return lease
        if live is not None and live.task is None:
            return None
        if live is not None:
            await deck.terminals.close(live)
        deck.resolver.refuse_unwakeable(self.identity)
        return await deck.spool.lease(self.identity, "task", deck.clock.wall())

    async def _wait_for_head(self, live: Session | None) -> bool:
        deck = self.deck
        due = await deck.spool.next_due(self.identity)
        if due is None:
            return False
        if live is not None:
            await self._hold(Hold.BUSY, "its session is in use; it takes tasks when that is closed")
        else:
            await self._hold(Hold.BACKOFF, None, max(due - deck.clock.wall(), LOOK_SECONDS))
        return True

    async def _session_for(self, lease: Lease, live: Session | None) -> Session | None:
        """Return the session of this very task, started if the task was not begun; None when it was settled."""
        deck = self.deck
        if live is not None and live.task == lease.message.id:
            return live if live.is_ready else await self._boot(live, lease)
        if lease.stage is not Stage.HELD:
            await self._ended(lease)
            return None
        deck.board.update(self.identity, hold=Hold.EPHEMERAL, detail=None, is_booting=True)
        self.is_done = False
        deck.flags.clear(self.identity, Flag.ARMED)
        try:
            session, _ = await deck.waker.wake(self.identity, mode=Mode.FRESH, task=lease.message.id)
        except (PeerStopped, CrashLooping):
            await deck.settler.returned(lease, Hold.STOPPED)
            raise
        except (WakeFailed, TmuxGone) as error:
            await self._wake_failed(lease, str(error))
            return None
        finally:
            deck.board.update(self.identity, is_booting=False)
        deck.board.woke(self.identity)
        await deck.initial.hand_over(session)
        return session

    async def _boot(self, live: Session, lease: Lease) -> Session | None:
        """Go on booting the session of this task; one that does not get ready in time is closed."""
        deck = self.deck
        if deck.clock.wall() - live.woke_at > deck.limits.boot_seconds:
            await deck.terminals.close(live)
            await deck.settler.failed(lease, f"the worker was not ready in {deck.limits.boot_seconds:g} s")
            return None
        try:
            return await deck.waker.boot(live)
        except (WakeFailed, TmuxGone) as error:
            await self._wake_failed(lease, str(error))
            return None

    async def _wake_failed(self, lease: Lease, reason: str) -> None:
        deck = self.deck
        if await anyio.to_thread.run_sync(deck.crashes.record, self.identity):
            await anyio.to_thread.run_sync(deck.flags.set, self.identity, Flag.FAILED, reason[:300])
        await deck.settler.failed(lease, f"waking failed: {reason}")

    async def _work(self, session: Session, lease: Lease) -> None:
        """Hand the task over, wait for its end, close the session."""
        deck = self.deck
        deck.board.update(self.identity, hold=Hold.EPHEMERAL, detail=None)
        try:
            if await self._hand_over(session, lease):
                await self._watch(session, lease)
        except TmuxGone:
            await deck.terminals.forget(session)
            await self._ended(lease)

    async def _hand_over(self, session: Session, lease: Lease) -> bool:
        deck, message = self.deck, lease.message
        progress = Progress(deck, lease)
        if await deck.terminals.find(session, message.id) is Receipt.CONSUMED:
            return True
        text = await deck.text(session, message)
        outcome = await deck.terminals.deliver(session, text, message.id, progress.reach, stage=progress.stage)
        if outcome.receipt is not None:
            return True
        if not outcome.typed or outcome.hold in (Hold.ASKS, Hold.DRAFT, Hold.BUSY):
            await self._hold(outcome.hold or Hold.UNKNOWN, outcome.excerpt)
            return False
        runtime = deck.waker.table.get(self.identity.runtime)
        await deck.terminals.close(session)
        reason = f"{runtime.no_receipt} ({outcome.evidence})"
        await deck.settler.failed(lease, reason, attempts=runtime.attempts)
        return False

    async def _watch(self, session: Session, lease: Lease) -> None:
        """Wait until the worker has replied and is quiet, says it is done, falls silent, or dies."""
        deck, limits = self.deck, self.deck.limits
        shown: tuple[str, ...] = ()
        since = deck.clock.monotonic()
        while True:
            state, lines = await deck.terminals.look(session)
            now = deck.clock.monotonic()
            if lines != shown or state is ScreenState.BUSY:
                shown, since = lines, now
            hold = Hold.ASKS if state is ScreenState.ASKS else Hold.EPHEMERAL
            deck.board.update(self.identity, hold=hold, detail=None)
            is_armed = deck.flags.is_set(self.identity, Flag.ARMED)
            if self.is_done or (is_armed and now - since >= limits.ephemeral_quiet_seconds):
                await deck.settler.consumed(lease, "done" if self.is_done else "reply")
                await deck.terminals.close(session)
                return
            if now - since >= limits.ephemeral_silence_seconds:
                await deck.terminals.close(session)
                await deck.settler.failed(lease, f"the worker was silent for {limits.ephemeral_silence_seconds:g} s")
                return
            await self._pause(LOOK_SECONDS)

    async def _ended(self, lease: Lease) -> None:
        """The worker is gone: its task is done if it replied, else it is tried again."""
        deck = self.deck
        if deck.flags.is_set(self.identity, Flag.ARMED) or self.is_done:
            await deck.settler.consumed(lease, "reply, after the session's end")
        elif deck.flags.is_set(self.identity, Flag.STOPPED):
            await deck.settler.returned(lease, Hold.STOPPED)
        else:
            await deck.settler.failed(lease, "the worker died before it replied")
