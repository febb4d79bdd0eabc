"""The peer's `initial_prompt`: the first message of every fresh session, before any other."""

from dataclasses import dataclass, replace
from typing import Final

from lifecycle.limits import Limits
from lifecycle.resolve import Resolver
from lifecycle.session import Session
from lifecycle.states import Mode
from lifecycle.terminals import Terminals
from transport.clock import Clock
from transport.envelope import render
from transport.errors import PeerwakeError
from transport.identity import SYSTEM
from transport.logs import Logs
from transport.message import Message, accept, check_draft
from transport.vocabulary import Intelligence, Receipt, Stage

POLL_SECONDS: Final = 0.2
ID_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class InitialPrompt:
    """Hands the initial prompt over; a failure is logged and does not keep the messages back."""

    resolver: Resolver
    terminals: Terminals
    logs: Logs
    clock: Clock
    limits: Limits

    async def hand_over(self, session: Session) -> None:
        """Give a fresh session its peer's initial prompt, once, also if a server was killed meanwhile."""
        profile = self.resolver.registry.get(session.identity.personality)
        if profile is None or not profile.initial_prompt or session.mode is not Mode.FRESH:
            return
        try:
            message = self._message(session, profile.initial_prompt)
            if await self.terminals.find(session, message.id) is not None:
                return
            text = render(message, intelligence=Intelligence.ABSENT)
            outcome = await self.terminals.deliver(session, text, message.id, self._on_stage)
            taken = outcome.receipt is not None
            self.logs.lifecycle.write("initial-prompt", identity=session.identity, id=message.id, taken=taken)
            if outcome.receipt is Receipt.INJECTED:
                await self._await_consumed(session, message)
        except (PeerwakeError, OSError) as error:
            self.logs.lifecycle.write("initial-prompt-failed", identity=session.identity, reason=error)

    def _message(self, session: Session, prompt: str) -> Message:
        """Return the prompt as a message; its id is made of the session's fence, so that it can be found again."""
        draft = check_draft(prompt, topic="initial-prompt")
        message = accept(draft, SYSTEM, session.identity, hops=0, now=self.clock.wall())
        return replace(message, id=f"m_{session.fence:0>{ID_DIGITS}}")

    async def _await_consumed(self, session: Session, message: Message) -> None:
        until = self.clock.monotonic() + self.limits.ready_seconds
        while session.is_alive() and self.clock.monotonic() < until:
            if await self.terminals.find(session, message.id) is Receipt.CONSUMED:
                return
            await self.clock.sleep(POLL_SECONDS)

    async def _on_stage(self, stage: Stage) -> None:
        """An initial prompt is not in the spool: there is nothing to record."""
