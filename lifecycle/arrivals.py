"""Whether a session's client has asked for our tools: told something before, it finds none to answer with."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from lifecycle.poke import Poke
from lifecycle.runtimes.base import Runtime
from lifecycle.session import Session
from transport.bulkhead import Area, Bulkhead, NoAnswer
from transport.clock import Clock
from transport.files import read_regular
from transport.identity import Identity

TOOLS_SECONDS: Final = 2.0
CONFIG_BYTES: Final = 1 << 20
OURS: Final = b"peerwake"


@dataclass(slots=True)
class Arrivals:
    """Used on the event loop. Who was waited for in vain is not waited for again until it arrives."""

    clock: Clock
    bulkhead: Bulkhead
    _at: dict[Identity, float] = field(default_factory=dict)
    _awaited: dict[Identity, Poke] = field(default_factory=dict)
    _missed: set[Identity] = field(default_factory=set)

    def arrived(self, identity: Identity) -> None:
        """A process of this identity's session has asked for the tools."""
        self._at[identity] = self.clock.wall()
        self._missed.discard(identity)
        if news := self._awaited.get(identity):
            news.set()

    async def wait(self, session: Session, runtime: Runtime) -> bool:
        """Return when a session's client has asked for our tools; False after 2 s in vain.

        True at once where nothing is to be waited for: it is not configured for them, or was waited for in vain.
        """
        identity = session.identity
        if self._at.get(identity, float("-inf")) >= session.woke_at:
            return True
        if identity in self._missed or not await self._is_expected(session, runtime):
            return True
        news = self._awaited[identity] = Poke(self.clock)
        try:
            await news.pause(TOOLS_SECONDS)
        finally:
            del self._awaited[identity]
        if self._at.get(identity, float("-inf")) >= session.woke_at:
            return True
        self._missed.add(identity)
        return False

    async def _is_expected(self, session: Session, runtime: Runtime) -> bool:
        """Tell whether a client is configured for our tools; one whose files give no answer is not waited for."""
        cwd = Path(session.cwd)
        try:
            directory = self.bulkhead.of(Area.DIRECTORY, session.identity)
            return await directory.run(cwd, partial(is_configured, runtime, cwd))
        except NoAnswer:
            return False


def is_configured(runtime: Runtime, cwd: Path) -> bool:
    """Tell whether one of the client's files in a peer's directory names our tools."""
    for name in runtime.mcp_files:
        try:
            data, _ = read_regular(cwd / name, limit=CONFIG_BYTES)
        except OSError:
            continue
        if OURS in data:
            return True
    return False
