"""The peer's `initial_prompt`: the first message of every fresh session, before any other."""

from dataclasses import dataclass

import anyio
import anyio.to_thread

from lifecycle.resolve import Resolver
from lifecycle.session import Session
from lifecycle.states import Mode
from lifecycle.terminals import Terminals
from transport.clock import Clock
from transport.envelope import render
from transport.errors import PeerwakeError
from transport.files import LockHeld
from transport.identity import SYSTEM
from transport.logs import Logs
from transport.message import accept, check_draft
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.vocabulary import Intelligence, Receipt, Stage


@dataclass(frozen=True, slots=True)
class InitialPrompt:
    """Hands the initial prompt over; a failure is logged and does not keep the messages back."""

    resolver: Resolver
    terminals: Terminals
    logs: Logs
    clock: Clock

    async def hand_over(self, session: Session) -> None:
        """Give a fresh session its peer's initial prompt, once."""
        profile = self.resolver.registry.get(session.identity.personality)
        if profile is None or not profile.initial_prompt or session.mode is not Mode.FRESH:
            return
        try:
            draft = check_draft(profile.initial_prompt, topic="initial-prompt")
            message = accept(draft, SYSTEM, session.identity, hops=0, now=self.clock.wall())
            text = render(message, intelligence=Intelligence.ABSENT)
            outcome = await self.terminals.deliver(session, text, message.id, self._on_stage)
            taken = outcome.receipt is not None
            self.logs.lifecycle.write("initial-prompt", identity=session.identity, id=message.id, taken=taken)
            while outcome.receipt is Receipt.INJECTED and session.is_alive():
                if await self.terminals.find(session, message.id) is Receipt.CONSUMED:
                    return
                await anyio.sleep(0.2)
        except (PeerwakeError, TmuxGone, TmuxUnknown, LockHeld) as error:
            self.logs.lifecycle.write("initial-prompt-failed", identity=session.identity, reason=error)

    async def _on_stage(self, stage: Stage) -> None:
        """An initial prompt is not in the spool: there is nothing to record."""
