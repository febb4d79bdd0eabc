"""The drain of an ephemeral worker: each task gets a fresh session of its own, one at a time, in order."""

from dataclasses import dataclass, field
from typing import Final

import anyio.to_thread

from lifecycle.assignment import LOOK_SECONDS, Assignment
from lifecycle.deck import Deck, passes
from lifecycle.drain import Drain
from lifecycle.poke import Poke
from lifecycle.requests import CrashLooping, PeerStopped, UndeclaredRuntime, UnknownPeer
from lifecycle.session import Session
from lifecycle.states import End, Mode
from lifecycle.steady import SteadyWall
from lifecycle.task_end import TaskEnd
from lifecycle.wake import UNDECIDED, SessionBlocked, WakeFailed
from transport.identity import Identity
from transport.spool.faults import SpoolError
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone
from transport.vocabulary import Hold, Kind, Stage, WakePolicy

HOLD_SECONDS: Final = 1.0
FENCE: Final = "task"


@dataclass(slots=True)
class EphemeralDrain:
    """Works until the queue is empty or the peer is ephemeral no more; `poke` makes it look again at once."""

    deck: Deck
    identity: Identity
    news: Poke = field(init=False)
    end: TaskEnd = field(init=False)
    warm: Drain = field(init=False)
    work: Assignment | None = None
    stuck_since: float | None = None
    wall: SteadyWall = field(init=False)

    def __post_init__(self) -> None:
        self.news = Poke(self.deck.clock)
        self.wall = SteadyWall(self.deck.clock)
        self.end = TaskEnd(self.deck, self.identity)
        self.warm = Drain(self.deck, self.identity)
        self.warm.news = self.news

    def poke(self) -> None:
        """Something changed: a message, a death, a flag."""
        if self.work is not None:
            self.work.has_sent = True
        self.news.set()

    async def run(self) -> None:
        """Give each task a session until the queue is empty or the identity may not be woken."""
        with self.deck.board.on_send(self.identity, self.poke):
            try:
                while await self._step():
                    pass
            finally:
                self.deck.board.clear(self.identity)

    async def _step(self) -> bool:
        """Work on one task; False when there is nothing more to do for now."""
        if not self._is_ephemeral():
            # Its messages go to a conversation from now on, and the task in hand with them.
            self.deck.settler.kick(self.identity)
            return False
        try:
            is_more = await self._next_task()
            self.stuck_since = None
            return is_more
        except (PeerStopped, CrashLooping):
            return False
        except SessionBlocked as blocked:
            await self._stuck(Hold.BLOCKED, str(blocked))
        except UNDECIDED as error:
            await self._stuck(Hold.UNKNOWN, str(error))
        except SpoolError:
            raise
        except Exception as error:  # the boundary of one task: it is given up after some attempts, the others go on
            await self._poisoned(error)
        return True

    def _is_ephemeral(self) -> bool:
        profile = self.deck.resolver.registry.get(self.identity.personality)
        return profile is None or profile.wake_policy is WakePolicy.EPHEMERAL

    async def _next_task(self) -> bool:
        live = await anyio.to_thread.run_sync(self.deck.sessions.live, self.identity)
        lease = await self._lease(live)
        if lease is None:
            return await self._wait_for_head(live)
        if lease.fence != FENCE:
            # Handed to a conversation while the peer was warm: that is no task, and ends as it began.
            await self.warm.recover()
            return True
        session = await self._session_for(lease, live)
        if session is not None:
            self.work = Assignment(self.deck, session, lease, self.news)
            try:
                await self.work.run()
            finally:
                if self.work.has_answered:
                    self.stuck_since = None
                self.work = None
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
        # Said before the books say that a task is in hand, so that the two never contradict each other.
        deck.board.update(self.identity, hold=Hold.EPHEMERAL, detail=None)
        return await deck.spool.lease(self.identity, FENCE, deck.clock.wall())

    async def _wait_for_head(self, live: Session | None) -> bool:
        deck = self.deck
        due = await deck.spool.next_due(self.identity)
        if due is None:
            return False
        if live is not None and live.task is None:
            await self._hold(Hold.BUSY, "its session is in use; it takes tasks when that is closed", HOLD_SECONDS)
        else:
            wait = min(due - deck.clock.wall(), deck.limits.backoff_max_seconds)
            await self._hold(Hold.BACKOFF, None, max(wait, LOOK_SECONDS))
        return True

    async def _hold(self, hold: Hold, detail: str | None, seconds: float) -> None:
        self.deck.board.update(self.identity, hold=hold, detail=detail, is_booting=False)
        await self.news.pause(seconds)

    async def _session_for(self, lease: Lease, live: Session | None) -> Session | None:
        """Return the session of this very task, started if the task was not begun; None when that is not to be."""
        deck, task = self.deck, lease.message.id
        if live is not None and live.task == task and live.takes_messages:
            return live
        if lease.stage is not Stage.HELD:
            await self.end.ended(lease)
            return None
        if lease.message.kind is Kind.NOTICE:
            await deck.settler.bury(lease, "a notice is no task: an ephemeral worker is not started for it")
            return None
        if await self.end.is_answered(lease):
            await self.end.finish(lease, "reply, after its session was closed")
            return None
        if live is not None and live.task is None:
            # Somebody attached before the worker was started: a conversation takes no task.
            await deck.settler.returned(lease, Hold.BUSY)
            return None
        if live is not None and self.wall.is_older(live.woke_at, deck.limits.boot_seconds):
            reason = f"the worker was not ready in {deck.limits.boot_seconds:g} s"
            await self.end.give_up(live, lease, reason)
            return None
        session = await self._wake(lease)
        if session is not None and session.task != task:
            # Somebody attached in the moment of the start.
            await deck.settler.returned(lease, Hold.BUSY)
            return None
        return session

    async def _wake(self, lease: Lease) -> Session | None:
        deck = self.deck
        deck.board.update(self.identity, hold=Hold.EPHEMERAL, detail=None, is_booting=True)
        try:
            session, is_new = await deck.waker.wake(self.identity, asked=Mode.FRESH, task=lease.message.id)
        except (PeerStopped, CrashLooping):
            await deck.settler.returned(lease, deck.resolver.unwakeable(self.identity) or Hold.STOPPED)
            raise
        except (WakeFailed, TmuxGone, UnknownPeer, UndeclaredRuntime) as error:
            await deck.settler.failed(lease, f"waking failed: {error}")
            return None
        finally:
            deck.board.update(self.identity, is_booting=False)
        if is_new:
            deck.board.woke(self.identity)
        return session

    async def _stuck(self, hold: Hold, why: str) -> None:
        """Wait while nothing can be learned of the session; a task that is stuck for its time to live is given up."""
        deck, now = self.deck, self.deck.clock.monotonic()
        self.stuck_since = now if self.stuck_since is None else self.stuck_since
        if now - self.stuck_since >= deck.limits.message_ttl_seconds:
            self.stuck_since = None
            if (lease := await deck.spool.leased(self.identity)) is not None:
                await deck.settler.bury(lease, f"nothing could be done for too long: {why}")
                return
        await self._hold(hold, why, HOLD_SECONDS)

    async def _poisoned(self, error: Exception) -> None:
        """A fault uses up an attempt before anything was typed, then it is waited out; the supervisor's without a task.

        What passes uses up none. A worker that may be at work is neither closed nor given its task twice for it.
        """
        lease, settler = await self.deck.spool.leased(self.identity), self.deck.settler
        if lease is None:
            raise error
        reason = f"a fault of ours: {type(error).__name__}: {error}"
        if lease.stage is Stage.HELD and not passes(error):
            await settler.failed(lease, reason)
            return
        if self.stuck_since is None:
            settler.logs.lifecycle.write("task-fault", identity=self.identity, id=lease.message.id, reason=reason)
        await self._stuck(Hold.UNKNOWN, reason)
