"""The drain of one identity: see that there is a session, hand over its messages one by one, settle each."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import anyio.to_thread

from lifecycle.deck import Deck, Progress, passes
from lifecycle.flags import Flag
from lifecycle.poke import Poke
from lifecycle.requests import CrashLooping, PeerStopped, UndeclaredRuntime, UnknownPeer
from lifecycle.session import Session, SessionUnreadable
from lifecycle.steady import SteadyWall
from lifecycle.terminals import UNANSWERED
from lifecycle.wake import UNDECIDED, SessionBlocked, WakeFailed
from transport.bulkhead import NoAnswer
from transport.delivery import HandOver
from transport.errors import InvalidInput
from transport.files import LockHeld
from transport.identity import Identity
from transport.spool.faults import SpoolError
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone, TmuxRefused, TmuxUnknown
from transport.tmux.ending import wait_agents
from transport.vocabulary import Hold, Kind, Receipt, Stage

LOOK_AGAIN: Final = (0.05, 0.1, 0.2)
CONSUMPTION_POLL_SECONDS: Final = 0.2
BUSY_LOOK_SECONDS: Final = 1.0
DRAFT_LOOK_SECONDS: Final = 5.0
UNKNOWN_SECONDS: Final = 1.0
# Longer than a client has after a stop: what it took it writes down until its very end.
LAST_WORDS_SECONDS: Final = 1.5


@dataclass(slots=True)
class Drain:
    """Works until nothing can be delivered now; `poke` makes it look again at once."""

    deck: Deck
    identity: Identity
    news: Poke = field(init=False)
    unknown_since: float | None = None
    is_unsettled: bool = True
    has_delivered: bool = False
    wall: SteadyWall = field(init=False)

    def __post_init__(self) -> None:
        self.news = Poke(self.deck.clock)
        self.wall = SteadyWall(self.deck.clock)

    def poke(self) -> None:
        """Something changed: a message, a death, a flag."""
        self.news.set()

    async def run(self) -> None:
        """Deliver until the queue is empty or the identity may not be woken."""
        self.is_unsettled, self.has_delivered = True, False
        try:
            while await self._step():
                pass
        except SpoolError:
            raise
        except Exception as error:  # the supervisor's to log; here it uses up an attempt, lest one message wedges all
            await self.deck.settler.fault(self.identity, error, self.wall)
            raise
        finally:
            self.deck.board.clear(self.identity)

    async def _step(self) -> bool:
        """Do one thing; False when there is nothing more to do for now."""
        deck, now = self.deck, self.deck.clock.wall()
        if self.is_unsettled:
            await self.recover()
            return True
        due = await deck.spool.next_due(self.identity)
        if due is None:
            if not self.has_delivered:
                await anyio.to_thread.run_sync(self._keep)
            return False
        self.has_delivered = True
        # Due later than any backoff: the clock was set back, and the spool knows.
        if now < due <= now + deck.limits.backoff_max_seconds:
            deck.board.update(self.identity, hold=Hold.BACKOFF)
            await self.news.pause(due - now)
            return True
        try:
            session = await self._session()
        except (PeerStopped, CrashLooping):
            return False
        except (UnknownPeer, UndeclaredRuntime, WakeFailed) as error:
            await self._wake_failed(str(error))
            return True
        if session is not None:
            await self._deliver_head(session)
        return True

    async def _session(self) -> Session | None:
        """Return a ready session; None after a pause, when it is blocked or somebody else wakes it."""
        deck = self.deck
        try:
            deck.resolver.refuse_unwakeable(self.identity)
            live = await anyio.to_thread.run_sync(deck.sessions.live, self.identity)
            if live is not None and live.takes_messages:
                return live
            if live is None or not deck.board.status(self.identity).hold:
                deck.board.update(self.identity, hold=Hold.WAKING, is_booting=True)
            topic = await deck.spool.head_topic(self.identity)
            session, is_new = await deck.waker.wake(self.identity, topic=topic)
        except SessionBlocked as blocked:
            await self._pause_for(Hold.BLOCKED, str(blocked))
            return None
        except UNDECIDED as error:
            await self._pause_for(Hold.UNKNOWN, str(error))
            return None
        except TmuxGone as error:
            raise WakeFailed(f"the session died while it started: {error}") from error
        deck.board.update(self.identity, hold=None, detail=None, is_booting=False)
        if is_new:
            deck.board.woke(self.identity)
        return session

    async def _pause_for(self, hold: Hold, detail: str) -> None:
        self.deck.board.update(self.identity, hold=hold, detail=detail, is_booting=False, is_handing_over=False)
        await self.news.pause(UNKNOWN_SECONDS)

    async def _wake_failed(self, reason: str) -> None:
        deck = self.deck
        lease = await deck.spool.lease(self.identity, "no-session", deck.clock.wall())
        if lease is None:
            await self.news.pause(UNKNOWN_SECONDS)
        else:
            await deck.settler.failed(lease, f"waking failed: {reason}")

    async def _deliver_head(self, session: Session) -> None:
        """Wait until the session can take a message, then lease the head and hand it over."""
        deck = self.deck
        try:
            hold, detail = await deck.terminals.gate(session)
            if hold is not None:
                await self._held(hold, detail)
                return
            lease = await deck.spool.lease(self.identity, session.fence, deck.clock.wall())
            if lease is None:
                await self.news.pause(UNKNOWN_SECONDS)
                return
            self.unknown_since = None
            deck.board.update(self.identity, hold=None, detail=None, is_handing_over=True)
            await self.hand_over(session, lease)
        except UNANSWERED as error:
            await self._held(Hold.UNKNOWN, str(error))
        except TmuxGone as error:
            if await anyio.to_thread.run_sync(session.is_alive):
                await self._held(Hold.UNKNOWN, str(error))
            else:
                await self.news.pause(LOOK_AGAIN[1])

    async def _held(self, hold: Hold, detail: str | None, *, is_typed: bool = False) -> None:
        """Say what holds the head back, and wait before the next look.

        Blocked is what stays unknown, and what stands in a composer with our own text: nobody else would look there.
        """
        deck, now = self.deck, self.deck.clock.monotonic()
        is_odd = hold is Hold.UNKNOWN or (is_typed and hold is Hold.DRAFT)
        if not is_odd or self.unknown_since is None:
            self.unknown_since = now if is_odd else None
        elif now - self.unknown_since > deck.limits.blocked_seconds:
            hold = Hold.BLOCKED
        status = deck.board.status(self.identity)
        again = LOOK_AGAIN[0] if status.hold is not hold else LOOK_AGAIN[2]
        deck.board.update(self.identity, hold=hold, detail=detail, is_handing_over=False)
        await self.news.pause(again)

    async def hand_over(self, session: Session, lease: Lease) -> None:
        """Hand a leased message over from the stage it reached, until it is settled or nothing of it was typed."""
        deck = self.deck
        progress = Progress(deck, lease)
        tries = 0
        try:
            text = await self._text(session, lease)
            while text is not None:
                outcome = await progress.deliver(session, text)
                if outcome.receipt is Receipt.INJECTED:
                    if await self.await_consumed(session, lease):
                        return
                    continue
                if outcome.receipt is not None or not outcome.typed:
                    await self._outcome(session, lease, outcome)
                    return
                # A look that pressed nothing because of what the screen shows is no attempt: it is waited for.
                tries += outcome.has_failed
                if await self._is_hopeless(lease, outcome, tries):
                    return
                await self._held(outcome.hold or Hold.UNKNOWN, outcome.excerpt, is_typed=True)
        except TmuxGone:
            await self.after_death(session, lease)
        except InvalidInput as error:
            await self._untypeable(session, lease, error)
        except (TmuxUnknown, TmuxRefused, LockHeld, OSError) as error:
            await self._unsettled(lease, progress.stage, str(error))

    async def _text(self, session: Session, lease: Lease) -> str | None:
        """Return the text to type; None after an attempt that failed, when its body cannot be put into its file.

        Raises OSError for what passes, and for what may have been typed already.
        """
        try:
            return await self.deck.text(session, lease.message)
        except OSError as error:
            if passes(error) or lease.stage is not Stage.HELD:
                raise
            await self.deck.settler.failed(lease, f"its body cannot be put into a file for its reader: {error}")
            return None

    async def _outcome(self, session: Session, lease: Lease, outcome: HandOver) -> None:
        if outcome.receipt is Receipt.CONSUMED:
            await self._consumed(session, lease, outcome.evidence or "transcript")
            return
        await self.deck.settler.returned(lease, outcome.hold or Hold.UNKNOWN)
        await self._held(outcome.hold or Hold.UNKNOWN, outcome.excerpt)

    async def _is_hopeless(self, lease: Lease, outcome: HandOver, tries: int) -> bool:
        """Give a message up that was typed again and again, or too long ago, without a receipt."""
        deck = self.deck
        runtime = deck.waker.table.get(self.identity.runtime)
        is_spent = outcome.is_spent or tries >= (runtime.attempts or deck.limits.attempts)
        if not is_spent and not self._is_old(lease):
            return False
        await deck.settler.bury(lease, f"{runtime.no_receipt} ({outcome.evidence})")
        return True

    async def await_consumed(self, session: Session, lease: Lease) -> bool:
        """Wait while the client holds the message in its own queue; an idle client has dropped it.

        False when something has stood in the composer for a while: a person can empty the client's queue into it.
        """
        deck = self.deck
        deck.board.update(self.identity, hold=Hold.BUSY, is_handing_over=False)
        began = next_look = deck.clock.monotonic()
        idle_since: float | None = None
        while True:
            if await deck.terminals.find(session, lease.message.id) is Receipt.CONSUMED:
                await self._consumed(session, lease, "transcript")
                return True
            if not session.is_alive():
                await self.after_death(session, lease)
                return True
            now = deck.clock.monotonic()
            if now >= next_look:
                hold = await deck.terminals.occupied(session)
                idle_since = (idle_since or now) if hold is None else None
                if hold is Hold.DRAFT and now - began >= DRAFT_LOOK_SECONDS:
                    deck.board.update(self.identity, hold=hold)
                    return False
                # Seldom while it works; often once it seems idle, so that no busy moment is missed.
                next_look = now + (BUSY_LOOK_SECONDS if idle_since is None else 0.0)
            if idle_since is not None and now - idle_since >= deck.limits.receipt_seconds:
                await deck.settler.failed(lease, "the client took the message into its queue and dropped it there")
                return True
            if self._is_old(lease):
                await deck.settler.bury(lease, "the client kept it in its own queue for longer than its time to live")
                return True
            await self.news.pause(CONSUMPTION_POLL_SECONDS)

    async def _consumed(self, session: Session, lease: Lease, evidence: str) -> None:
        """Settle a message that was taken; its topic is one of the session's from now on, if that can be noted."""
        message, settler = lease.message, self.deck.settler
        await settler.consumed(lease, evidence)
        if message.topic is None or message.kind is Kind.NOTICE:
            return
        try:
            await anyio.to_thread.run_sync(self.deck.sessions.add_topic, session, message.topic)
        except OSError as error:
            settler.logs.lifecycle.write("topic-not-noted", identity=self.identity, id=message.id, reason=error)

    async def after_death(self, session: Session, lease: Lease) -> None:
        """Settle a lease whose session is gone: taken, if its transcript says so, else back to the head."""
        deck = self.deck
        if session.pane is not None:
            await wait_agents(session.pane, LAST_WORDS_SECONDS, clock=deck.clock)
        try:
            receipt = await deck.terminals.find(session, lease.message.id)
        except OSError as error:
            await self._unsettled(lease, Stage.PASTING, f"the transcript cannot be read: {error}")
            return
        if receipt is Receipt.CONSUMED:
            await deck.settler.consumed(lease, "transcript, after the session's death")
        elif deck.flags.is_set(self.identity, Flag.STOPPED):
            await deck.settler.returned(lease, Hold.STOPPED)
        elif await anyio.to_thread.run_sync(self._was_ended, session):
            await deck.settler.returned(lease, Hold.WAKING)
        else:
            await deck.settler.failed(lease, "the session died before the message was taken")
        if not session.is_alive():
            await deck.terminals.forget(session)

    def _was_ended(self, session: Session) -> bool:
        """Tell whether somebody ended a session deliberately: that is no failed attempt."""
        try:
            found = self.deck.sessions.find(self.identity, session.fence)
        except SessionUnreadable:
            return False
        return found is not None and found.is_closing

    async def _untypeable(self, session: Session, lease: Lease, error: InvalidInput) -> None:
        """No attempt will ever get this text into a terminal."""
        try:
            receipt = await self.deck.terminals.find(session, lease.message.id)
        except NoAnswer as unknown:
            await self._unsettled(lease, Stage.PASTING, str(unknown))
            return
        if receipt is Receipt.CONSUMED:
            await self.deck.settler.consumed(lease, "transcript")
        else:
            await self.deck.settler.bury(lease, f"it cannot be typed: {error}")

    async def _unsettled(self, lease: Lease, stage: Stage, why: str) -> None:
        """There was no answer in the middle of a hand-over: what may have been typed stays leased, for a day."""
        if stage is Stage.HELD:
            await self.deck.settler.returned(lease, Hold.UNKNOWN)
        elif self._is_old(lease):
            await self.deck.settler.bury(lease, why)
        else:
            self.is_unsettled = True
        await self._pause_for(Hold.UNKNOWN, why)

    def _is_old(self, lease: Lease) -> bool:
        """Tell whether it was leased too long ago; a machine that slept, or a clock set forth, makes nothing old."""
        return self.wall.is_older(lease.leased_at, self.deck.limits.message_ttl_seconds)

    async def recover(self) -> None:
        """Settle the lease that this or an earlier server left behind."""
        deck = self.deck
        self.is_unsettled = False
        lease = await deck.spool.leased(self.identity)
        if lease is None:
            return
        if lease.stage is Stage.HELD:
            await deck.settler.returned(lease, Hold.UNKNOWN)
            return
        try:
            session = await anyio.to_thread.run_sync(self._session_of, lease)
        except SessionUnreadable as error:
            if self._is_old(lease):
                await deck.settler.bury(lease, str(error))
                return
            self.is_unsettled = True
            await self._pause_for(Hold.UNKNOWN, str(error))
            return
        if session is None:
            # Nothing tells where its transcript is: to type it again might do it twice.
            await deck.settler.bury(
                lease, "it may have been taken: the record of the session it was typed into is lost"
            )
        elif not session.is_alive():
            await self.after_death(session, lease)
        else:
            await self.hand_over(session, lease)

    def _keep(self) -> None:
        """Make a conversation of what was a worker's session: its task is settled, and its peer is warm now."""
        sessions = self.deck.sessions
        # Where it cannot be written, the session is still a task's, and looked at again in the next tick.
        with suppress(OSError, SessionUnreadable):
            live = sessions.live(self.identity)
            if live is not None and live.task is not None and live.takes_messages:
                sessions.update(live, task=None)

    def _session_of(self, lease: Lease) -> Session | None:
        """Return the session that a message was handed to, also if that was as a task of its own."""
        last = self.deck.sessions.last(self.identity)
        if last is not None and last.task == lease.message.id:
            return last
        return self.deck.sessions.find(self.identity, lease.fence)
