"""The drain of one identity: see that there is a session, hand over its messages one by one, settle each."""

from dataclasses import dataclass, field
from typing import Final, assert_never

import anyio
import anyio.to_thread

from lifecycle.deck import Deck, Progress
from lifecycle.flags import Flag
from lifecycle.requests import CrashLooping, PeerStopped, UnknownPeer
from lifecycle.session import Session, SessionUnreadable
from lifecycle.wake import AlreadyWaking, SessionBlocked, WakeFailed
from transport.delivery import HandOver
from transport.files import LockHeld
from transport.identity import Identity
from transport.process import DeadlinePassed
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone, TmuxRefused, TmuxUnknown
from transport.vocabulary import Hold, Receipt, Stage

LOOK_AGAIN: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
CONSUMPTION_POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Drain:
    """Works until nothing can be delivered now; `poke` makes it look again at once."""

    deck: Deck
    identity: Identity
    poked: anyio.Event = field(default_factory=anyio.Event)
    unknown_since: float | None = None

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
            deck.resolver.refuse_unwakeable(self.identity)
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
            if hold is not None:
                await self._held(hold, detail)
                return
            lease = await deck.spool.lease(self.identity, session.fence, deck.clock.wall())
            if lease is None:
                await self._pause(LOOK_AGAIN[0])
                return
            self.unknown_since = None
            deck.board.update(self.identity, hold=None, detail=None, is_handing_over=True)
            await self.hand_over(session, lease)
        except (TmuxUnknown, TmuxRefused, LockHeld) as error:
            await self._held(Hold.UNKNOWN, str(error))
        except TmuxGone:
            await self._pause(LOOK_AGAIN[1])

    async def _held(self, hold: Hold, detail: str | None) -> None:
        """Say what holds the head back, and wait before the next look; what stays unknown is blocked."""
        deck, now = self.deck, self.deck.clock.monotonic()
        if hold is not Hold.UNKNOWN or self.unknown_since is None:
            self.unknown_since = now if hold is Hold.UNKNOWN else None
        elif now - self.unknown_since > deck.limits.blocked_seconds:
            hold = Hold.BLOCKED
        status = deck.board.status(self.identity)
        again = LOOK_AGAIN[0] if status.hold is not hold else LOOK_AGAIN[2]
        deck.board.update(self.identity, hold=hold, detail=detail, is_handing_over=False)
        await self._pause(again)

    async def hand_over(self, session: Session, lease: Lease) -> None:
        """Hand a leased message over from the stage it reached, until it is settled or nothing of it was typed."""
        deck, message = self.deck, lease.message
        progress = Progress(deck, lease)
        tries = 0
        try:
            text = await deck.text(session, message)
            while True:
                outcome = await deck.terminals.deliver(session, text, message.id, progress.reach, stage=progress.stage)
                if outcome.receipt is not None or not outcome.typed:
                    await self._outcome(session, lease, outcome)
                    return
                tries += outcome.hold in (None, Hold.UNKNOWN)
                if await self._is_hopeless(lease, outcome, tries):
                    return
                await self._held(outcome.hold or Hold.UNKNOWN, outcome.excerpt)
        except TmuxGone:
            await self.after_death(session, lease)
        except (TmuxUnknown, TmuxRefused, LockHeld) as error:
            await self._unsettled(session, lease, str(error))
        except OSError as error:
            await deck.settler.failed(lease, f"the body could not be written for the recipient: {error}")

    async def _outcome(self, session: Session, lease: Lease, outcome: HandOver) -> None:
        match outcome.receipt:
            case Receipt.CONSUMED:
                await self.deck.settler.consumed(lease, outcome.evidence)
            case Receipt.INJECTED:
                await self.await_consumed(session, lease)
            case None:
                await self.deck.settler.returned(lease, outcome.hold or Hold.UNKNOWN)
                await self._held(outcome.hold or Hold.UNKNOWN, outcome.excerpt)
            case _:
                assert_never(outcome.receipt)

    async def _is_hopeless(self, lease: Lease, outcome: HandOver, tries: int) -> bool:
        """Give a message up that was typed again and again, or too long ago, without a receipt."""
        deck = self.deck
        runtime = deck.waker.table.get(self.identity.runtime)
        is_old = deck.clock.wall() - lease.message.accepted_at > deck.limits.message_ttl_seconds
        if tries < (runtime.attempts or deck.limits.attempts) and not is_old:
            return False
        await deck.settler.bury(lease, f"{runtime.no_receipt} ({outcome.evidence})")
        return True

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

    async def _unsettled(self, session: Session, lease: Lease, why: str) -> None:
        """The terminal gave no answer in the middle of a hand-over: keep the lease and look again."""
        self.deck.board.update(self.identity, hold=Hold.UNKNOWN, detail=why, is_handing_over=False)
        await self._pause(1.0)
        if session.is_alive():
            await self._recover()
        else:
            await self.after_death(session, lease)

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
                await self.hand_over(session, lease)
                return
