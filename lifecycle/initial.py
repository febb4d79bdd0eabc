"""What a fresh session is told before any message: its peer's `initial_prompt`, then its seed."""

from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from typing import Final

from lifecycle.inbox import body_file
from lifecycle.limits import Limits
from lifecycle.resolve import Resolver
from lifecycle.session import Session
from lifecycle.states import Mode
from lifecycle.terminals import UNANSWERED, Terminals
from transport.clock import Clock
from transport.delivery import HandOver
from transport.envelope import render
from transport.errors import PeerwakeError
from transport.identity import SYSTEM
from transport.logs import Logs
from transport.message import Message, accept, check_draft
from transport.tmux.control import TmuxGone
from transport.vocabulary import Hold, Intelligence, Receipt, Stage

POLL_SECONDS: Final = 0.2
ID_DIGITS: Final = 20
SEED_MARK: Final = "5eed"
NONCE_DIGITS: Final = 12


class NotTold(PeerwakeError):
    """Nothing may be typed into the session now: what it is told first waits, and its messages behind it."""

    code = "not-told"


@dataclass(frozen=True, slots=True)
class InitialPrompt:
    """Hands both over, once nothing keeps them back; a failure is logged and does not keep the messages back."""

    resolver: Resolver
    terminals: Terminals
    logs: Logs
    clock: Clock
    limits: Limits

    async def hand_over(self, session: Session) -> bool:
        """Give a fresh session its peer's initial prompt, then its seed, each once, also over a killed server.

        Tells whether it lived to take them: False when it died before, and the next one is to be told.
        Raises NotTold with the screen's last lines, or TmuxUnknown, TmuxRefused, LockHeld, NoAnswer: to be called
        again.
        """
        profile = self.resolver.registry.get(session.identity.personality)
        if session.mode is not Mode.FRESH:
            return True
        is_told = True
        if profile is not None and profile.initial_prompt:
            is_told = await self._give(session, "initial-prompt", profile.initial_prompt, session.fence)
        if is_told and session.seed:
            is_told = await self._give(session, "seed", session.seed, f"{SEED_MARK}{session.fence}")
        return is_told

    async def _give(self, session: Session, what: str, text: str, token: str) -> bool:
        """Give it one of them; False when it died before it took that, by all that can be known."""
        try:
            message = self._message(session, what, text, token)
            try:
                return await self._tell(session, what, message)
            except TmuxGone as error:
                self.logs.lifecycle.write(f"{what}-failed", identity=session.identity, reason=error)
                return await self._is_taken(session, message)
        except (NotTold, *UNANSWERED):
            raise
        except (PeerwakeError, OSError) as error:
            self.logs.lifecycle.write(f"{what}-failed", identity=session.identity, reason=error)
        return True

    async def _tell(self, session: Session, what: str, message: Message) -> bool:
        if await self.terminals.find(session, message.id) is not None:
            return True
        outcome = await self._deliver(session, message)
        if _is_kept_back(outcome):
            raise NotTold(outcome.excerpt)
        taken = outcome.receipt is not None
        self.logs.lifecycle.write(what, identity=session.identity, id=message.id, taken=taken)
        return outcome.receipt is not Receipt.INJECTED or await self._await_consumed(session, message)

    async def _is_taken(self, session: Session, message: Message) -> bool:
        return await self.terminals.find(session, message.id) is Receipt.CONSUMED

    async def _deliver(self, session: Session, message: Message) -> HandOver:
        """Hand it over until it is taken, for a while; go on where an earlier server was."""
        terminals, text = self.terminals, await self._envelope(session, message)
        was_pasted = await terminals.was_pasted(session, message.id)
        reached = _Reached(Stage.PASTING if was_pasted else Stage.HELD, was_pasted)
        since = session.woke_at if was_pasted else self.clock.wall()
        began, tries = self.clock.monotonic(), 0
        while True:
            outcome = await terminals.deliver(
                session,
                text,
                message.id,
                reached.reach,
                stage=reached.stage,
                is_repeated=reached.was_typed,
                since=since,
            )
            tries += outcome.hold is None
            seconds = self.limits.ready_seconds if outcome.typed else self.limits.blocked_seconds
            is_over = tries >= terminals.attempts(session) or self.clock.monotonic() - began >= seconds
            if outcome.receipt is not None or is_over:
                return outcome
            await self.clock.sleep(POLL_SECONDS)

    def _message(self, session: Session, topic: str, text: str, token: str) -> Message:
        """Return the text as a message, for the same session always the same, so that it can be found again."""
        draft = check_draft(text, topic=topic)
        message = accept(draft, SYSTEM, session.identity, hops=0, now=session.woke_at)
        return replace(message, id=f"m_{token:0>{ID_DIGITS}}", nonce=_nonce(token, draft.body))

    async def _envelope(self, session: Session, message: Message) -> str:
        """Return the text as it is typed; one that cannot be is put into a file first. Raises OSError."""
        form = self.terminals.form(session)
        file = await body_file(self.terminals.bulkhead, session, message, form)
        return render(message, intelligence=Intelligence.ABSENT, body_file=file, form=form)

    async def _await_consumed(self, session: Session, message: Message) -> bool:
        """Wait for a while until the client has taken it from its own queue; False when that died with it."""
        until = self.clock.monotonic() + self.limits.ready_seconds
        while session.is_alive() and self.clock.monotonic() < until:
            if await self._is_taken(session, message):
                return True
            await self.clock.sleep(POLL_SECONDS)
        return session.is_alive() or await self._is_taken(session, message)


def _is_kept_back(outcome: HandOver) -> bool:
    """Tell whether it waits: nothing was typed, or it stands there with a person's line or for a client that hangs."""
    waits = outcome.hold in (Hold.DRAFT, Hold.UNKNOWN) and outcome.submits == 0
    return not outcome.typed or (outcome.receipt is None and waits)


@dataclass(slots=True)
class _Reached:
    """How far a hand-over is, and whether it was ever typed: an initial prompt is not in the spool."""

    stage: Stage
    was_typed: bool

    async def reach(self, stage: Stage) -> None:
        self.stage = stage
        self.was_typed = self.was_typed or stage is Stage.PASTING


def _nonce(token: str, body: str) -> str:
    """Return a nonce that only who knows the session's fence can guess, and that does not occur in the body."""
    digests = (sha256(f"{token} {number}".encode()).hexdigest() for number in count())
    return next(nonce for digest in digests if (nonce := digest[:NONCE_DIGITS]) not in body.lower())
