"""One task in a session of its own: handed over, then watched until the worker is through with it."""

from dataclasses import dataclass, field
from typing import Final

from lifecycle.deck import Deck, Progress, passes
from lifecycle.poke import Poke
from lifecycle.session import Session
from lifecycle.states import End
from lifecycle.steady import SteadyWall
from lifecycle.task_end import TaskEnd
from transport.delivery import HandOver
from transport.errors import InvalidInput
from transport.spool.records import Lease
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.vocabulary import Hold, Receipt, ScreenState, Stage

LOOK_SECONDS: Final = 0.1
LOOK_SHARE: Final = 0.05
ASK_SECONDS: Final = 1.0


@dataclass(slots=True)
class Assignment:
    """The work of one worker; `has_sent` is set when the worker may have sent something.

    `has_answered` tells whether its terminal has answered a question since the work was taken up.
    """

    deck: Deck
    session: Session
    lease: Lease
    news: Poke
    has_sent: bool = True
    has_answered: bool = False
    end: TaskEnd = field(init=False)
    wall: SteadyWall = field(init=False)

    def __post_init__(self) -> None:
        self.end = TaskEnd(self.deck, self.session.identity)
        self.wall = SteadyWall(self.deck.clock)

    async def run(self) -> None:
        """Work until the task is settled and its session closed.

        Raises TmuxUnknown, TmuxRefused, LockHeld, or an OSError that passes, NoAnswer among them.
        """
        self.deck.board.update(self.session.identity, hold=Hold.EPHEMERAL, detail=None)
        try:
            if await self._hand_over():
                await self._watch()
        except TmuxGone:
            await self.deck.waker.see_out(self.session)
            await self.end.ended(self.lease)

    async def _hand_over(self) -> bool:
        """Return whether the worker has its task; it is waited for no longer than for a silent worker."""
        began = self.deck.clock.monotonic()
        progress = Progress(self.deck, self.lease)
        while True:
            if progress.stage is not Stage.HELD and await self._is_taken():
                return True
            try:
                outcome = await self._deliver(progress)
            except InvalidInput as error:
                await self.end.bury(self.session, self.lease, f"it cannot be typed: {error}")
                return False
            except OSError as error:
                if progress.stage is not Stage.HELD:
                    raise TmuxUnknown(f"what became of the task is not known: {error}") from error
                if passes(error):
                    raise
                await self._give_up(f"it could not be handed over: {error}")
                return False
            if outcome.receipt is not None or await self.end.is_armed(self.lease):
                return True
            if await self._is_hopeless(outcome, self.deck.clock.monotonic() - began):
                return False
            self.deck.board.update(self.session.identity, hold=outcome.hold or Hold.UNKNOWN, detail=outcome.excerpt)
            await self.news.pause(ASK_SECONDS)

    async def _is_taken(self) -> bool:
        """Tell whether an earlier hand-over got the task into the worker, by its transcript or what it sent."""
        try:
            found = await self.deck.terminals.find(self.session, self.lease.message.id)
        except OSError as error:
            raise TmuxUnknown(f"the transcript cannot be read: {error}") from error
        return found is Receipt.CONSUMED or await self.end.is_armed(self.lease)

    async def _deliver(self, progress: Progress) -> HandOver:
        outcome = await progress.deliver(self.session, await self.deck.text(self.session, self.lease.message))
        self.has_answered = True
        return outcome

    async def _is_hopeless(self, outcome: HandOver, waited: float) -> bool:
        """Give the session up when it shows no receipt, or when nobody makes it ready for the task."""
        if outcome.typed and outcome.has_failed:
            runtime = self.deck.waker.table.get(self.session.identity.runtime)
            await self._give_up(f"{runtime.no_receipt} ({outcome.evidence})", runtime.attempts)
            return True
        if waited >= self.deck.limits.ephemeral_silence_seconds:
            await self._give_up(f"the worker took nothing: {outcome.evidence}")
            return True
        return False

    @property
    def _look_seconds(self) -> float:
        """A share of the quiet time: its end is seen soon enough, and a long task costs little."""
        return min(max(self.deck.limits.ephemeral_quiet_seconds * LOOK_SHARE, LOOK_SECONDS), ASK_SECONDS)

    async def _watch(self) -> None:
        """Wait until the worker has replied and is quiet, says it is done, falls silent, takes too long, or dies."""
        deck, limits = self.deck, self.deck.limits
        shown: tuple[str, ...] = ()
        since = asked_at = deck.clock.monotonic()
        is_armed, self.has_sent = False, True
        while True:
            state, lines = await deck.terminals.look(self.session)
            self.has_answered = True
            now = deck.clock.monotonic()
            if lines != shown or state is ScreenState.BUSY:
                shown, since = lines, now
            hold = Hold.ASKS if state is ScreenState.ASKS else Hold.EPHEMERAL
            deck.board.update(self.session.identity, hold=hold, detail=None)
            # Also what another process spooled counts, and that comes without a poke.
            if not is_armed and (self.has_sent or now - asked_at >= ASK_SECONDS):
                self.has_sent, asked_at = False, now
                is_armed = await self.end.is_armed(self.lease)
            if self.end.says_done(self.lease) or (is_armed and now - since >= limits.ephemeral_quiet_seconds):
                await self._finish()
                return
            if await self._is_over(now - since):
                return
            await self.news.pause(self._look_seconds)

    async def _finish(self) -> None:
        is_done = self.end.says_done(self.lease)
        await self.end.finish(self.lease, "done" if is_done else "reply")
        await self.deck.terminals.close(self.session, End.TASK)

    async def _is_over(self, silent: float) -> bool:
        """Give up a worker that is silent, or at it for longer than is allowed."""
        limits = self.deck.limits
        if silent >= limits.ephemeral_silence_seconds:
            await self._give_up(f"the worker was silent for {limits.ephemeral_silence_seconds:g} s")
            return True
        most = limits.ephemeral_max_seconds
        if most > 0 and self.wall.is_older(self.session.woke_at, most):
            await self._give_up(f"the worker took longer than {most:g} s")
            return True
        return False

    async def _give_up(self, reason: str, attempts: int | None = None) -> None:
        await self.end.give_up(self.session, self.lease, reason, attempts)
