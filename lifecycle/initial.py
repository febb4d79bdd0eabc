"""What a fresh session is told before any message: its peer's `initial_prompt`, then its seed."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import anyio.to_thread

from lifecycle.limits import Limits
from lifecycle.resolve import Resolver
from lifecycle.session import Session
from lifecycle.states import Mode
from lifecycle.terminals import Terminals
from transport.clock import Clock
from transport.envelope import place_body, render
from transport.errors import PeerwakeError
from transport.identity import SYSTEM
from transport.logs import Logs
from transport.message import Message, accept, check_draft
from transport.vocabulary import Intelligence, Receipt, Stage

POLL_SECONDS: Final = 0.2
ID_DIGITS: Final = 20
SEED_MARK: Final = "5eed"


@dataclass(frozen=True, slots=True)
class InitialPrompt:
    """Hands both over; a failure is logged and does not keep the messages back."""

    resolver: Resolver
    terminals: Terminals
    logs: Logs
    clock: Clock
    limits: Limits

    async def hand_over(self, session: Session) -> None:
        """Give a fresh session its peer's initial prompt, then its seed, each once, also over a killed server."""
        profile = self.resolver.registry.get(session.identity.personality)
        if session.mode is not Mode.FRESH:
            return
        if profile is not None and profile.initial_prompt:
            await self._give(session, "initial-prompt", profile.initial_prompt, session.fence)
        if session.seed:
            await self._give(session, "seed", session.seed, f"{SEED_MARK}{session.fence}")

    async def _give(self, session: Session, what: str, text: str, token: str) -> None:
        try:
            message = self._message(session, what, text, token)
            if await self.terminals.find(session, message.id) is not None:
                return
            envelope = await anyio.to_thread.run_sync(self._envelope, session, message)
            outcome = await self.terminals.deliver(session, envelope, message.id, self._on_stage)
            taken = outcome.receipt is not None
            self.logs.lifecycle.write(what, identity=session.identity, id=message.id, taken=taken)
            if outcome.receipt is Receipt.INJECTED:
                await self._await_consumed(session, message)
        except (PeerwakeError, OSError) as error:
            self.logs.lifecycle.write(f"{what}-failed", identity=session.identity, reason=error)

    def _message(self, session: Session, topic: str, text: str, token: str) -> Message:
        """Return the text as a message; its id is made of the session's fence, so that it can be found again."""
        draft = check_draft(text, topic=topic)
        message = accept(draft, SYSTEM, session.identity, hops=0, now=self.clock.wall())
        return replace(message, id=f"m_{token:0>{ID_DIGITS}}")

    def _envelope(self, session: Session, message: Message) -> str:
        """Return the text as it is typed; one that cannot be is put into a file first. Blocks, raises OSError."""
        form = self.terminals.form(session)
        body_file = place_body(message, Path(session.cwd) / ".peerwake" / "inbox", form)
        return render(message, intelligence=Intelligence.ABSENT, body_file=body_file, form=form)

    async def _await_consumed(self, session: Session, message: Message) -> None:
        until = self.clock.monotonic() + self.limits.ready_seconds
        while session.is_alive() and self.clock.monotonic() < until:
            if await self.terminals.find(session, message.id) is Receipt.CONSUMED:
                return
            await self.clock.sleep(POLL_SECONDS)

    async def _on_stage(self, stage: Stage) -> None:
        """An initial prompt is not in the spool: there is nothing to record."""
