"""The evidence in a session's transcript, wherever the client keeps it and moves it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from transport.bulkhead import Compartment
from transport.clock import Clock
from transport.receipt import Parse, TranscriptTail
from transport.vocabulary import Receipt

LOCATE_SECONDS: Final = 0.25
FOUND_SECONDS: Final = 10.0


class SessionTranscript:
    """Follows the transcript of one session; `locate` may block and answers None while there is none.

    What an earlier file of the session proved stays proven after the client moved on to another, also where that was
    before this process looked at it first: `left` finds those. `place` is where both look, as far as is known. It may
    be on a file system that hangs: all methods raise NoAnswer then.
    """

    def __init__(
        self,
        locate: Callable[[], Path | None],
        parse: Parse,
        clock: Clock,
        files: Compartment,
        place: Path,
        left: Callable[[], Iterable[Path]] = tuple,
    ) -> None:
        self._locate = locate
        self._left: Callable[[], Iterable[Path]] | None = left
        self._parse = parse
        self._clock = clock
        self._files = files
        self._place = place
        self._tails: list[TranscriptTail] = []
        self._located_at = float("-inf")

    async def mark(self, message_id: str) -> None:
        """Look for this message only in what is written from now on: it was never typed before."""
        await self._follow()
        for tail in self._tails:
            await tail.mark(message_id)

    async def again(self, message_id: str) -> Receipt | None:
        """Return whether it was consumed; evidence of less is forgotten: that attempt is over."""
        await self._follow()
        found = [await tail.again(message_id) for tail in self._tails]
        return next((each for each in found if each), None)

    async def find(self, message_id: str) -> Receipt | None:
        """Return the strongest evidence written so far, None when there is none."""
        await self._follow()
        best: Receipt | None = None
        for tail in reversed(self._tails):
            found = await tail.find(message_id)
            if found is Receipt.CONSUMED:
                return found
            best = best or found
        return best

    async def sizes(self, *, locate: bool) -> tuple[int, ...]:
        """Return the sizes of the session's files, those known or, with `locate`, also one it has moved on to."""
        if locate or not self._tails:
            await self._follow()
        paths = [tail.path for tail in self._tails]
        return await self._files.run(paths[-1], lambda: tuple(map(_size, paths))) if paths else ()

    async def _follow(self) -> None:
        now = self._clock.monotonic()
        if self._tails and now - self._located_at < LOCATE_SECONDS:
            return
        self._located_at = now
        if self._left is not None:
            left = self._left
            for path in await self._files.run(self._place, lambda: tuple(left()), FOUND_SECONDS):
                self._add(path)
            self._left = None
        found = await self._files.run(self._place, self._locate, FOUND_SECONDS)
        if found is not None:
            self._add(found)

    def _add(self, path: Path) -> None:
        if all(tail.path != path for tail in self._tails):
            self._tails.append(TranscriptTail(path, self._parse, self._files))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
