"""The drain of an ephemeral worker: each task gets a fresh session of its own, one at a time, in order."""

from dataclasses import dataclass, field
from typing import Final

import anyio.to_thread

from lifecycle.deck import Deck, Progress
from lifecycle.flags import Flag
from lifecycle.poke import Poke
from lifecycle.requests import CrashLooping, PeerStopped, UndeclaredRuntime, UnknownPeer
from lifecycle.session import Session, SessionUnreadable
from lifecycle.states import End, Mode
from lifecycle.wake import AlreadyWaking, SessionBlocked, WakeFailed
from transport.delivery import HandOver
from transport.errors import InvalidInput
from transport.files import LockHeld
from transport.identity import Identity
from transport.process import DeadlinePassed
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone, TmuxRefused, TmuxUnknown
from transport.vocabulary import Hold, Kind, Receipt, ScreenState, Stage

LOOK_SECONDS: Final = 0.1
HOLD_SECONDS: Final = 1.0
FENCE: Final = "task"


@dataclass(slots=True)
class EphemeralDrain:
    """Works until the queue is empty; `poke` makes it look again at once."""

    deck: Deck
    identity: Identity
    news: Poke = field(init=False)
    held_since: float | None = None
    has_sent: bool = True

    def __post_init__(self) -> None:
        self.news = Poke(self.deck.clock)

    def poke(self) -> None:
        """Something changed: a message, a death, a flag."""
        self.has_sent = True
        self.news.set()

    async def done(self) -> bool:
        """The worker says that its task is done; False when it was not handed one."""
        lease = await self.deck.spool.leased(self.identity)
        if lease is None or lease.stage is Stage.HELD:
            return False
        await anyio.to_thread.run_sync(self.deck.flags.set, self.identity, Flag.ARMED, lease.message.id)
        self.poke()
        return True

    async def run(self) -> None:
        """Give each task a session until the queue is empty or the identity may not be woken."""
        with self.deck.board.on_send(self.identity, self.poke):
            try:
                while await self._step():
                    pass
            finally:
                self.deck.board.clear(self.identity)

    async def _hold(self, hold: Hold, detail: str | None, seconds: float = HOLD_SECONDS) -> None:
        self.deck.board.update(self.identity, hold=hold, detail=detail, is_booting=False)
        await self.news.pause(seconds)

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
        except (PeerStopped, CrashLooping):
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
            await deck.terminals.close(live, End.TASK)
        deck.resolver.refuse_unwakeable(self.identity)
        self.held_since = None
        return await deck.spool.lease(self.identity, FENCE, deck.clock.wall())

    async def _wait_for_head(self, live: Session | None) -> bool:
        deck = self.deck
        due = await deck.spool.next_due(self.identity)
        if due is None:
            return False
        if live is not None and live.task is None:
            await self._hold(Hold.BUSY, "its session is in use; it takes tasks when that is closed")
        else:
            await self._hold(Hold.BACKOFF, None, max(due - deck.clock.wall(), LOOK_SECONDS))
        return True

    async def _session_for(self, lease: Lease, live: Session | None) -> Session | None:
        """Return the session of this very task, started if the task was not begun; None when that is not to be."""
        deck, task = self.deck, lease.message.id
        if live is not None and live.task == task and live.takes_messages:
            return live
        if lease.stage is not Stage.HELD:
            await self._ended(lease)
            return None
        if lease.message.kind is Kind.NOTICE:
            await deck.settler.bury(lease, "a notice is no task: an ephemeral worker is not started for it")
            return None
        if live is not None and deck.clock.wall() - live.woke_at > deck.limits.boot_seconds:
            await self._give_up(live, lease, f"the worker was not ready in {deck.limits.boot_seconds:g} s")
            return None
        session = await self._wake(lease)
        if session is not None and session.task != task:
            # Somebody attached in between: a conversation of another kind takes no task.
            await deck.settler.returned(lease, Hold.BUSY)
            return None
        return session

    async def _wake(self, lease: Lease) -> Session | None:
        deck = self.deck
        deck.board.update(self.identity, hold=Hold.EPHEMERAL, detail=None, is_booting=True)
        try:
            session, is_new = await deck.waker.wake(self.identity, asked=Mode.FRESH, task=lease.message.id)
        except (PeerStopped, CrashLooping):
            await deck.settler.returned(lease, Hold.STOPPED)
            raise
        except (WakeFailed, TmuxGone, UnknownPeer, UndeclaredRuntime) as error:
            await deck.settler.failed(lease, f"waking failed: {error}")
            return None
        finally:
            deck.board.update(self.identity, is_booting=False)
        if is_new:
            deck.board.woke(self.identity)
        return session

    async def _work(self, session: Session, lease: Lease) -> None:
        """Hand the task over, wait for its end, close the session."""
        deck = self.deck
        deck.board.update(self.identity, hold=Hold.EPHEMERAL, detail=None)
        try:
            if await self._hand_over(session, lease):
                await self._watch(session, lease)
        except TmuxGone:
            await deck.waker.see_out(session)
            await self._ended(lease)

    async def _hand_over(self, session: Session, lease: Lease) -> bool:
        """Return whether the worker has its task."""
        deck, message = self.deck, lease.message
        progress = Progress(deck, lease)
        if await deck.terminals.find(session, message.id) is Receipt.CONSUMED or await self._is_answered(lease):
            return True
        try:
            text = await deck.text(session, message)
            outcome = await deck.terminals.deliver(session, text, message.id, progress.reach, stage=progress.stage)
        except InvalidInput as error:
            await deck.terminals.close(session, End.TASK)
            await deck.settler.bury(lease, f"it cannot be typed: {error}")
            return False
        except OSError as error:
            await self._give_up(session, lease, f"it could not be handed over: {error}")
            return False
        if outcome.receipt is not None or await self._is_answered(lease):
            return True
        await self._not_taken(session, lease, outcome)
        return False

    async def _not_taken(self, session: Session, lease: Lease, outcome: HandOver) -> None:
        """Wait for the worker to become able to take its task, but not for ever."""
        deck, now = self.deck, self.deck.clock.monotonic()
        if outcome.typed and outcome.hold not in (Hold.ASKS, Hold.DRAFT, Hold.BUSY):
            runtime = deck.waker.table.get(self.identity.runtime)
            await self._give_up(session, lease, f"{runtime.no_receipt} ({outcome.evidence})", runtime.attempts)
            return
        self.held_since = now if self.held_since is None else self.held_since
        if now - self.held_since >= deck.limits.ephemeral_silence_seconds:
            await self._give_up(session, lease, f"the worker took nothing: {outcome.evidence}")
        else:
            await self._hold(outcome.hold or Hold.UNKNOWN, outcome.excerpt)

    async def _give_up(self, session: Session, lease: Lease, reason: str, attempts: int | None = None) -> None:
        await self.deck.terminals.close(session, End.TASK)
        await self.deck.settler.failed(lease, reason, attempts=attempts)

    async def _watch(self, session: Session, lease: Lease) -> None:
        """Wait until the worker has replied and is quiet, says it is done, falls silent, or dies."""
        deck, limits = self.deck, self.deck.limits
        shown: tuple[str, ...] = ()
        since = asked_at = deck.clock.monotonic()
        is_answered, self.has_sent = False, True
        while True:
            state, lines = await deck.terminals.look(session)
            now = deck.clock.monotonic()
            if lines != shown or state is ScreenState.BUSY:
                shown, since = lines, now
            hold = Hold.ASKS if state is ScreenState.ASKS else Hold.EPHEMERAL
            deck.board.update(self.identity, hold=hold, detail=None)
            # Also what another process spooled counts, and that comes without a poke.
            if not is_answered and (self.has_sent or now - asked_at >= HOLD_SECONDS):
                self.has_sent, asked_at = False, now
                is_answered = await self._is_answered(lease)
            is_done = self._says_done(lease)
            if is_done or (is_answered and now - since >= limits.ephemeral_quiet_seconds):
                await self._finish(lease, "done" if is_done else "reply")
                await deck.terminals.close(session, End.TASK)
                return
            if now - since >= limits.ephemeral_silence_seconds:
                reason = f"the worker was silent for {limits.ephemeral_silence_seconds:g} s"
                await self._give_up(session, lease, reason)
                return
            await self.news.pause(LOOK_SECONDS)

    async def _is_answered(self, lease: Lease) -> bool:
        """Tell whether the worker has sent a message since it was handed its task, or said that it is done."""
        return self._says_done(lease) or await self.deck.spool.sent_since(lease.message.id)

    def _says_done(self, lease: Lease) -> bool:
        return self.deck.flags.text(self.identity, Flag.ARMED) == lease.message.id

    async def _finish(self, lease: Lease, evidence: str) -> None:
        await self.deck.settler.consumed(lease, evidence)
        await anyio.to_thread.run_sync(self.deck.flags.clear, self.identity, Flag.ARMED)

    async def _ended(self, lease: Lease) -> None:
        """The worker is gone: its task is done if it replied, else it is tried again."""
        deck = self.deck
        if await self._is_answered(lease):
            await self._finish(lease, "reply, after the session's end")
        elif deck.flags.is_set(self.identity, Flag.STOPPED):
            await deck.settler.returned(lease, Hold.STOPPED)
        else:
            await deck.settler.failed(lease, "the worker died before it replied")
