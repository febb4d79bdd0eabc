"""One real client in a private tmux: look at it, type into it, wait for what it shows and writes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from lifecycle.boot import Boot, Booter
from lifecycle.limits import Limits
from lifecycle.runtimes.base import Reader, Runtime, SessionFacts
from transport.clock import SystemClock
from transport.screen import Reading, Screen, read_screen
from transport.tmux.ending import kill
from transport.tmux.pane import Pane
from transport.tmux.server import Started
from transport.vocabulary import Receipt, ScreenState

Found = TypeVar("Found")


async def eventually(look: Callable[[], Awaitable[Found | None]], seconds: float) -> Found | None:
    """Return the first thing that `look` finds, None when it finds nothing for `seconds`."""
    with anyio.move_on_after(seconds):
        while True:
            found = await look()
            if found is not None:
                return found
            await anyio.sleep(0.02)
    return None


@dataclass(slots=True)
class Client:
    """One real client in a tmux of its own."""

    runtime: Runtime
    reader: Reader
    pane: Pane
    facts: SessionFacts
    started: Started
    socket: Path
    clock: SystemClock

    async def screen(self) -> Screen:
        return await self.pane.capture()

    async def reading(self) -> Reading:
        return read_screen(await self.screen(), self.runtime.screen)

    def status(self) -> ScreenState | None:
        """Return what the client says of itself."""
        return self.reader.status(self.facts)

    async def boot(self, **limits: float) -> Boot:
        """Go past the dialogs that the runtime knows; `blocked` after three quiet seconds with another."""
        chosen = Limits(**{"boot_seconds": 40.0, "blocked_seconds": 3.0, **limits})
        status = partial(anyio.to_thread.run_sync, self.status)
        return await Booter(self.pane, self.runtime, self.reader, self.facts, status, self.clock, chosen).run()

    async def press(self, *keys: str) -> None:
        await self.pane.press(*keys)

    async def resize(self, columns: int, rows: int) -> None:
        """Make the window as small or large as the terminal of a person who attaches to it."""
        size = ("-x", str(columns), "-y", str(rows))
        await self.pane.control.command("resize-window", "-t", self.pane.pane_id, *size)

    async def type(self, text: str) -> None:
        """Press the keys of a text one by one, as a person does."""
        for char in text:
            await self.pane.press("Space" if char == " " else char)

    async def paste(self, text: str) -> None:
        """Paste and wait until the composer shows something."""
        await self.pane.paste(text)
        await self.until(lambda reading: bool(reading.input_text), "the pasted text to show")

    async def submit(self, text: str) -> None:
        """Paste, press Enter, and wait until the composer is empty or gone."""
        await self.paste(text)
        await self.press("Enter")
        await self.until(lambda reading: not reading.input_text, "the text to be submitted")

    async def until(
        self, wanted: ScreenState | Callable[[Reading], bool], what: str = "", seconds: float = 20.0
    ) -> Reading:
        """Return the first reading that is as wanted; fails with the screen after `seconds`."""
        last: list[Reading] = []

        async def look() -> Reading | None:
            last[:] = [await self.reading()]
            is_it = last[0].state is wanted if isinstance(wanted, ScreenState) else wanted(last[0])
            return last[0] if is_it else None

        found = await eventually(look, seconds)
        assert found is not None, f"waited {seconds:g} s for {what or wanted}; the screen shows {last}"
        return found

    async def shows(self, text: str, seconds: float = 20.0) -> Screen:
        """Return the first screen that has `text` in one of its lines; fails with the screen after `seconds`."""
        last: list[str] = []

        async def look() -> Screen | None:
            screen = await self.screen()
            last[:] = screen.lines
            return screen if any(text in line for line in screen.lines) else None

        found = await eventually(look, seconds)
        assert found is not None, f"waited {seconds:g} s for {text!r} on\n" + "\n".join(last)
        return found

    def evidence(self, message_id: str) -> list[Receipt]:
        """Return what the transcript proves of a message, in the order it was written."""
        path = self.reader.locate(self.facts)
        if path is None:
            return []
        found = [self.reader.parse(line) for line in path.read_bytes().splitlines()]
        return [each[1] for each in found if each and each[0] == message_id]

    async def receipt(self, message_id: str, wanted: Receipt = Receipt.CONSUMED, seconds: float = 30.0) -> Receipt:
        """Wait for a piece of evidence; fails with the screen after `seconds`."""

        async def look() -> Receipt | None:
            return wanted if wanted in self.evidence(message_id) else None

        found = await eventually(look, seconds)
        assert found, f"no {wanted} of {message_id}, only {self.evidence(message_id)}; {await self.reading()}"
        return found

    async def writes(self, text: str, seconds: float = 20.0) -> None:
        """Wait until the transcript holds `text` somewhere; it is written a little after the screen."""

        async def look() -> bool | None:
            path = self.reader.locate(self.facts)
            return True if path and text in path.read_text() else None

        assert await eventually(look, seconds), f"{text!r} does not come into the transcript"

    async def end(self) -> None:
        await self.pane.aclose()
        await kill(self.socket, self.started.tmux, pane=self.started.pane)
