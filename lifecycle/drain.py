"""The drain of one identity: see that there is a session, hand over its messages one by one, settle each."""

from dataclasses import dataclass, field
from typing import Final

import anyio
import anyio.to_thread

from lifecycle.deck import Deck
from lifecycle.flags import Flag
from lifecycle.requests import CrashLooping, PeerStopped, UnknownPeer
from lifecycle.session import Session, SessionUnreadable
from lifecycle.wake import AlreadyWaking, SessionBlocked, WakeFailed
from transport.delivery import HandOver
from transport.files import LockHeld
from transport.identity import Identity
from transport.process import DeadlinePassed
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.vocabulary import Hold, Receipt, Stage

LOOK_AGAIN: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
CONSUMPTION_POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Drain:
    """Works until nothing can be delivered now; `poke` makes it look again at once."""

    deck: Deck
    identity: Identity
    poked: anyio.Event = field(default_factory=anyio.Event)
    has_looked_at_draft: bool = False

    def poke(self) -> None:
        """Something changed: a message, a death, a flag."""
        self.poked.set()

    async def run(self) -> None:
        """Deliver until the queue is empty or the identity may not be woken."""
        try:
            await self._recover()
            while await self._step():
                pass
        finally:
            self.deck.board.clear(self.identity)

    async def _pause(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.poked.wait()
        if self.poked.is_set():
            self.poked = anyio.Event()

    async def _step(self) -> bool:
        """Do one thing; False when there is nothing more to do for now."""
        deck, now = self.deck, self.deck.clock.wall()
        due = await deck.spool.next_due(self.identity)
        if due is None:
            return False
        if due > now:
            deck.board.update(self.identity, hold=Hold.BACKOFF)
            await self._pause(due - now)
            return True
        try:
            session = await self._session()
        except (PeerStopped, CrashLooping, UnknownPeer):
            return False
        except WakeFailed as error:
            await self._wake_failed(str(error))
            return True
        if session is None:
            return True
        await self._deliver_head(session)
        return True

    async def _session(self) -> Session | None:
        """Return a ready session; None after a pause, when it is blocked or somebody else wakes it."""
        deck = self.deck
        try:
            live = await anyio.to_thread.run_sync(deck.sessions.live, self.identity)
            if live is not None and live.is_ready:
                return live
            if live is None or not deck.board.status(self.identity).hold:
                deck.board.update(self.identity, hold=Hold.WAKING, is_booting=True)
            session, is_new = await deck.waker.wake(self.identity)
        except SessionBlocked as blocked:
            deck.board.update(self.identity, hold=Hold.BLOCKED, detail=str(blocked), is_booting=False)
            await self._pause(1.0)
            return None
        except (AlreadyWaking, TmuxUnknown, SessionUnreadable, DeadlinePassed) as error:
            deck.board.update(self.identity, hold=Hold.UNKNOWN, detail=str(error), is_booting=False)
            await self._pause(1.0)
            return None
        except TmuxGone as error:
            raise WakeFailed(f"the session died while it started: {error}") from error
        deck.board.update(self.identity, hold=None, detail=None, is_booting=False)
        if is_new:
            deck.board.woke(self.identity)
            await deck.initial.hand_over(session)
        return session

    async def _wake_failed(self, reason: str) -> None:
        deck = self.deck
        looping = await anyio.to_thread.run_sync(deck.crashes.record, self.identity)
        lease = await deck.spool.lease(self.identity, "no-session", deck.clock.wall())
        if lease is not None:
            await deck.settler.failed(lease, f"waking failed: {reason}")
        if looping:
            await anyio.to_thread.run_sync(deck.flags.set, self.identity, Flag.FAILED, reason[:300])
            deck.board.update(self.identity, hold=Hold.CRASH_LOOPING, detail=reason)

    async def _deliver_head(self, session: Session) -> None:
        """Wait until the session can take a message, then lease the head and hand it over."""
        deck = self.deck
        try:
            hold, detail = await deck.terminals.gate(session)
            # A draft may be our own text, left by an attempt that was not submitted: look once.
            is_new_draft = hold is Hold.DRAFT and not self.has_looked_at_draft
            self.has_looked_at_draft = hold is Hold.DRAFT
            if hold is not None and not is_new_draft:
                await self._held(hold, detail)
                return
            lease = await deck.spool.lease(self.identity, session.fence, deck.clock.wall())
            if lease is None:
                await self._pause(LOOK_AGAIN[0])
                return
            deck.board.update(self.identity, hold=None, detail=None, is_handing_over=True)
            await self.hand_over(session, lease, resume=False)
        except TmuxUnknown as error:
            await self._held(Hold.UNKNOWN, str(error))
        except LockHeld as error:
            await self._held(Hold.UNKNOWN, str(error))
        except TmuxGone:
            await self._pause(LOOK_AGAIN[1])

    async def _held(self, hold: Hold, detail: str | None) -> None:
        status = self.deck.board.status(self.identity)
        again = LOOK_AGAIN[0] if status.hold is not hold else LOOK_AGAIN[2]
        self.deck.board.update(self.identity, hold=hold, detail=detail, is_handing_over=False)
        await self._pause(again)

    async def hand_over(self, session: Session, lease: Lease, *, resume: bool) -> None:
        """Hand one leased message over and settle it; `resume` continues what another server began."""
        deck, message = self.deck, lease.message

        async def on_stage(stage: Stage) -> None:
            await deck.spool.stage(message.id, stage, deck.clock.wall(), fence=lease.fence)

        try:
            text = await deck.text(session, message)
            again = lease.attempts > 0
            outcome = await deck.terminals.hand_over(session, text, message.id, on_stage, resume=resume, again=again)
        except TmuxGone:
            await self.after_death(session, lease)
            return
        except (TmuxUnknown, LockHeld):
            await self._unsettled(session, lease)
            return
        except OSError as error:
            await deck.settler.failed(lease, f"the body could not be written for the recipient: {error}")
            return
        await self._outcome(session, lease, outcome)

    async def _outcome(self, session: Session, lease: Lease, outcome: HandOver) -> None:
        deck = self.deck
        match outcome.receipt:
            case Receipt.CONSUMED:
                await deck.settler.consumed(lease, outcome.evidence)
            case Receipt.INJECTED:
                await self.await_consumed(session, lease)
            case None if not outcome.typed:
                await deck.settler.returned(lease, outcome.hold or Hold.UNKNOWN)
                await self._held(outcome.hold or Hold.UNKNOWN, outcome.excerpt)
            case None:
                runtime = deck.waker.table.get(self.identity.runtime)
                await deck.settler.failed(lease, outcome.evidence or runtime.no_receipt, attempts=runtime.attempts)

    async def await_consumed(self, session: Session, lease: Lease) -> None:
        """Wait as long as the session lives: the client holds the message in its own queue."""
        deck = self.deck
        deck.board.update(self.identity, hold=Hold.BUSY, is_handing_over=False)
        while True:
            receipt = await deck.terminals.find(session, lease.message.id)
            if receipt is Receipt.CONSUMED:
                await deck.settler.consumed(lease, "transcript")
                return
            if not session.is_alive():
                await self.after_death(session, lease)
                return
            await self._pause(CONSUMPTION_POLL_SECONDS)

    async def after_death(self, session: Session, lease: Lease) -> None:
        """Settle a lease whose session is gone: taken, if its transcript says so, else back to the head."""
        deck = self.deck
        if await deck.terminals.find(session, lease.message.id) is Receipt.CONSUMED:
            await deck.settler.consumed(lease, "transcript, after the session's death")
        elif deck.flags.is_set(self.identity, Flag.STOPPED):
            await deck.settler.returned(lease, Hold.STOPPED)
        else:
            await deck.settler.failed(lease, "the session died before the message was taken")

    async def _unsettled(self, session: Session, lease: Lease) -> None:
        """The terminal gave no answer in the middle of a hand-over: keep the lease and look again."""
        self.deck.board.update(self.identity, hold=Hold.UNKNOWN, is_handing_over=False)
        await self._pause(1.0)
        if not session.is_alive():
            await self.after_death(session, lease)
            return
        await self._recover()

    async def _recover(self) -> None:
        """Settle the lease that this or an earlier server left behind."""
        deck = self.deck
        while (lease := await deck.spool.leased(self.identity)) is not None:
            if lease.stage is Stage.HELD:
                await deck.settler.returned(lease, Hold.UNKNOWN)
                return
            try:
                session = await anyio.to_thread.run_sync(deck.sessions.last, self.identity)
            except SessionUnreadable as error:
                deck.board.update(self.identity, hold=Hold.UNKNOWN, detail=str(error))
                await self._pause(1.0)
                continue
            if session is None or session.fence != lease.fence:
                await deck.settler.failed(lease, "the session died before the message was taken")
            elif not session.is_alive():
                await self.after_death(session, lease)
            else:
                await self.hand_over(session, lease, resume=True)
                return
