"""The floor under every delivery: paste and Enter into a pane, then the transcript's line; no gate, no spool."""

import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio

from transport.clock import SystemClock
from transport.process import ProcessId
from transport.tmux.control import ControlClient
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux

POLL_SECONDS: Final = 0.0005
POLL_MOST_SECONDS: Final = 60.0


def open_pane(socket: Path, session: str, server: ProcessId, pane_id: str) -> Pane:
    """Return a pane behind a control client of its own."""
    clock = SystemClock()
    control = ControlClient(tmux=find_tmux(), socket=socket, session=session, server=server, clock=clock)
    return Pane(control, pane_id, clock)


class Tail:
    """The end of one growing file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def has(self, needle: bytes) -> bool:
        """Tell whether what was added since the start holds `needle` in a complete line."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                return any(needle in line for line in file.read().split(b"\n")[:-1])
        except FileNotFoundError:
            return False


async def poll(question: Callable[[], Awaitable[bool]], nap: float = POLL_SECONDS) -> None:
    """Return as soon as the answer is yes; raises TimeoutError."""
    with anyio.fail_after(POLL_MOST_SECONDS):
        while True:
            if await question():
                return
            await anyio.sleep(nap)


async def wait_for(tail: Tail, needle: bytes) -> None:
    """Return when the line is written; raises TimeoutError."""

    async def is_there() -> bool:
        return tail.has(needle)

    await poll(is_there)


async def paste_to_line(pane: Pane, path: Path) -> float:
    """Return the seconds from a paste with Enter behind it to its line in the transcript."""
    word = secrets.token_hex(8)
    tail = Tail(path)
    began = time.perf_counter()
    await pane.paste(f"raw {word}")
    await pane.press("Enter")
    await wait_for(tail, word.encode())
    return time.perf_counter() - began
