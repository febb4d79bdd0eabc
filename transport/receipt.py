"""Reading a client's transcript for the evidence that a message was taken."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio.to_thread

from transport.clock import Clock
from transport.vocabulary import Receipt

Parse = Callable[[bytes], tuple[str, Receipt] | None]
"""Returns the message id and the evidence that one line of a transcript holds, None for any other line."""

CHUNK: Final = 1 << 20
INLINE_BYTES: Final = 64 << 10
LINE_MAX: Final = 16 << 20
LOCATE_SECONDS: Final = 0.25


@dataclass(slots=True)
class TranscriptTail:
    """Follows a transcript wherever the client moves it, and remembers what its lines prove.

    `locate` may read files and answers None while there is no transcript; what earlier files of the
    same session proved stays proven.
    """

    locate: Callable[[], Path | None]
    parse: Parse
    clock: Clock
    _path: Path | None = None
    _inode: int = 0
    _offset: int = 0
    _partial: bytes = b""
    _skipping: bool = False
    _located_at: float = float("-inf")
    _found: dict[str, Receipt] = field(default_factory=dict)

    async def find(self, message_id: str) -> Receipt | None:
        """Return the strongest evidence for a message written so far, None when there is none."""
        if self._found.get(message_id) is not Receipt.CONSUMED:
            now = self.clock.monotonic()
            if now - self._located_at >= (LOCATE_SECONDS if self._path else 0.0):
                self._located_at = now
                self._follow(await anyio.to_thread.run_sync(self.locate))
            await self._read()
        return self._found.get(message_id)

    def _follow(self, path: Path | None) -> None:
        if path is not None and path != self._path:
            self._path = path
            self._restart(0)

    def _restart(self, inode: int) -> None:
        self._inode, self._offset, self._partial, self._skipping = inode, 0, b"", False

    async def _read(self) -> None:
        if self._path is None:
            return
        try:
            status = os.stat(self._path)  # noqa: PTH116
        except OSError:
            return
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._restart(status.st_ino)
        if status.st_size - self._offset > INLINE_BYTES:
            await anyio.to_thread.run_sync(self._take, status.st_size)
        elif status.st_size > self._offset:
            self._take(status.st_size)

    def _take(self, size: int) -> None:
        assert self._path is not None
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while self._offset < size and (data := file.read(min(CHUNK, size - self._offset))):
                    self._offset += len(data)
                    self._feed(data)
        except OSError:
            return

    def _feed(self, data: bytes) -> None:
        *lines, rest = (self._partial + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif proof := self.parse(line):
                self._note(*proof)
        self._partial = rest
        if len(rest) > LINE_MAX:
            self._partial, self._skipping = b"", True

    def _note(self, message_id: str, receipt: Receipt) -> None:
        if self._found.get(message_id) is not Receipt.CONSUMED:
            self._found[message_id] = receipt
