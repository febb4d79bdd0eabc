"""Reading a client's transcript for the evidence that a message was taken."""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from transport.bulkhead import Compartment
from transport.vocabulary import Receipt

Parse = Callable[[bytes], tuple[str, Receipt] | None]
"""Returns the message id and the evidence that one line of a transcript holds, None for any other line."""

CHUNK: Final = 1 << 20
LINE_MAX: Final = 64 << 20
STEP: Final = 8 << 20
REMEMBERED: Final = 16


class Transcript(Protocol):
    """Where the evidence for a message is looked up."""

    async def mark(self, message_id: str) -> None:
        """Look for this message only in what is written from now on: it was never typed before."""
        ...

    async def again(self, message_id: str) -> Receipt | None:
        """Return whether it was consumed; evidence of less is forgotten: that attempt is over."""
        ...

    async def find(self, message_id: str) -> Receipt | None:
        """Return the strongest evidence written so far, None when there is none."""
        ...


@dataclass(slots=True)
class _Progress:
    """How far one file was searched for one message: `offset` is the start of a line, `has_more` a search cut short."""

    device: int = 0
    inode: int = 0
    offset: int = 0
    scanned: int = 0
    found: Receipt | None = None
    has_more: bool = False


class TranscriptTail:
    """The evidence in one growing file of lines, which may not exist yet, be cut or be replaced.

    A message is searched for from the start of the file, once, then only in what was added. Lines
    longer than 64 MiB and lines that `parse` makes nothing of are skipped. Where the file is, its peer decides:
    each look at it is a call in the compartment `files`, and raises what that raises.
    """

    def __init__(self, path: Path, parse: Parse, files: Compartment) -> None:
        self.path = path
        self._parse = parse
        self._files = files
        self._progress: dict[str, _Progress] = {}
        self._mutex = threading.Lock()

    async def mark(self, message_id: str) -> None:
        """Look for this message only in what is written from now on; where it was looked for already, go on there."""
        if message_id not in self._progress:
            self._remember(message_id, await self._files.run(self.path, partial(_at_end, self.path)))

    async def again(self, message_id: str) -> Receipt | None:
        """Return whether it was consumed; evidence of less is forgotten."""
        if await self.find(message_id) is Receipt.CONSUMED:
            return Receipt.CONSUMED
        self._progress[message_id].found = None
        return None

    async def find(self, message_id: str) -> Receipt | None:
        """Return the strongest evidence for the message; raises OSError for a file that cannot be read or hangs."""
        progress = self._progress.get(message_id)
        if progress is None:
            progress = _Progress()
            self._remember(message_id, progress)
        while True:
            found = await self._files.run(self.path, partial(self.search, message_id, progress))
            if not progress.has_more:
                return found

    def _remember(self, message_id: str, progress: _Progress) -> None:
        self._progress[message_id] = progress
        while len(self._progress) > REMEMBERED:
            del self._progress[next(iter(self._progress))]

    def search(self, message_id: str, progress: _Progress) -> Receipt | None:
        """Read of what was added as much as does not take long, and remember the strongest evidence; blocking."""
        # One that was given up may still be at it.
        with self._mutex:
            return self._search(message_id, progress)

    def _search(self, message_id: str, progress: _Progress) -> Receipt | None:
        progress.has_more = False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return progress.found
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self.path))
            _restart_if_replaced(descriptor, progress)
            for line in _lines_with(descriptor, message_id.encode(), progress):
                evidence = self._parse(line)
                if evidence is not None and evidence[0] == message_id and progress.found is not Receipt.CONSUMED:
                    progress.found = evidence[1]
        finally:
            os.close(descriptor)
        return progress.found


def _at_end(path: Path) -> _Progress:
    try:
        status = path.stat()
    except OSError:
        return _Progress()
    return _Progress(status.st_dev, status.st_ino, status.st_size, status.st_size)


def _restart_if_replaced(descriptor: int, progress: _Progress) -> None:
    status = os.fstat(descriptor)
    if (status.st_dev, status.st_ino) != (progress.device, progress.inode) or status.st_size < progress.scanned:
        progress.device, progress.inode = status.st_dev, status.st_ino
        progress.offset = progress.scanned = 0


def _lines_with(descriptor: int, needle: bytes, progress: _Progress) -> Iterator[bytes]:
    """Yield the complete lines that hold `needle` and move the progress behind them, at most `STEP` bytes."""
    until = progress.scanned + STEP
    while chunk := _next_chunk(descriptor, progress):
        start = progress.scanned
        progress.scanned += len(chunk)
        progress.has_more = progress.scanned >= until
        end = chunk.rfind(b"\n")
        if end >= 0:
            complete = start + end + 1
            block = chunk[: end + 1]
            if complete - progress.offset > LINE_MAX:
                block = block[block.index(b"\n") + 1 :]
            elif start > progress.offset:
                block = os.pread(descriptor, start - progress.offset, progress.offset) + block
            yield from _holding(block, needle)
            progress.offset = complete
        if progress.has_more:
            return


def _next_chunk(descriptor: int, progress: _Progress) -> bytes:
    """Return what stands behind the holes of a sparse file, whose size says nothing; empty at its end."""
    if hasattr(os, "SEEK_DATA"):
        try:
            progress.scanned = max(progress.scanned, os.lseek(descriptor, progress.scanned, os.SEEK_DATA))
        except OSError as error:
            if error.errno == errno.ENXIO:
                return b""
    return os.pread(descriptor, CHUNK, progress.scanned)


def _holding(block: bytes, needle: bytes) -> Iterable[bytes]:
    if needle not in block:
        return ()
    return (line for line in block.split(b"\n") if needle in line)
