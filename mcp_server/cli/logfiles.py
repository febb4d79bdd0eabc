"""Reading the logs of a root: lines of several files in the order of time, followed across rotation."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import BinaryIO, Self

from transport.logline import fields_of, wall_of

NAMES = ("lifecycle", "delivery", "exits")
ROTATED = 10
CHUNK = 1 << 16
LONGEST = 1 << 20
WHOSE = ("identity", "sender")


@dataclass(frozen=True)
class Line:
    """One line of a log: its time in wall seconds (0 when it has none), and its fields once they are asked for."""

    log: str
    text: str

    @cached_property
    def at(self) -> float:
        return wall_of({"ts": self.text[3 : self.text.find(" ")]} if self.text.startswith("ts=") else self.fields)

    @cached_property
    def fields(self) -> dict[str, str]:
        """The fields; what is damaged has fewer of them, never an error."""
        return fields_of(self.text)

    def is_of(self, identity: str) -> bool:
        """Tell whether this is a line of one identity."""
        return f" identity={identity} " in f"{self.text} " and self.fields.get("identity") == identity

    def is_about(self, name: str) -> bool:
        """Tell whether this is about a peer, given by its name or as one identity."""
        if f"{name} " not in f"{self.text} ":
            return False
        values = [self.fields.get(key, "") for key in WHOSE]
        return any(name in (value, value.partition("-")[2]) for value in values if value)


@dataclass(slots=True)
class LogFile:
    """One log with its rotated predecessors; `fresh` goes on where the last call ended, in each of them.

    Files stay open while they have a name: a writer may still append to one that was just rotated, and
    the inode of one that is gone cannot be mistaken for that of a new one.
    """

    directory: str
    name: str
    containing: bytes = b""
    _files: dict[int, BinaryIO] = field(default_factory=dict)
    _half: dict[int, bytes] = field(default_factory=dict)

    def everything(self, *, last: int | None = None, since: float = 0.0) -> Iterator[Line]:
        """Yield every line there is, the oldest first, and remember where it ended.

        With `last`, only those in about so many bytes at the end; files without a line after `since`
        (wall seconds) are not read.
        """
        self.close()
        room = last
        for inode in reversed(self._open()):
            file = self._files[inode]
            status = os.fstat(file.fileno())
            if status.st_mtime < since:
                file.seek(0, os.SEEK_END)
            elif room is not None and status.st_size > room:
                file.seek(status.st_size - room)
                file.readline()
                room = 0
            elif room is not None:
                room -= status.st_size
        yield from self.fresh()

    def fresh(self) -> Iterator[Line]:
        """Yield the lines written since the last call, also those that were rotated away meanwhile."""
        named = self._open()
        gone = [inode for inode in self._files if inode not in named]
        for inode in (*gone, *named):
            for text in self._lines(inode):
                yield Line(self.name, text)
        for inode in gone:
            self._files.pop(inode).close()
            self._half.pop(inode, None)

    def close(self) -> None:
        """Forget everything."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._half.clear()

    def _open(self) -> list[int]:
        """Return the inodes that have a name, the oldest first; one that is rotated meanwhile is met once."""
        found: list[int] = []
        paths = [f"{self.directory}/{self.name}.log{suffix}" for suffix in ("", *(f".{n}" for n in range(1, ROTATED)))]
        for path in paths:
            try:
                file = open(path, "rb")  # noqa: PTH123, SIM115 (closed when it has no name any more)
            except OSError:
                continue
            inode = os.fstat(file.fileno()).st_ino
            if inode in self._files:
                file.close()
            else:
                self._files[inode] = file
            if inode not in found:
                found.append(inode)
        return found[::-1]

    def _lines(self, inode: int) -> Iterator[str]:
        file, half = self._files[inode], self._half.pop(inode, b"")
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)  # somebody emptied it
            half = b""
        while chunk := file.read(CHUNK):
            *whole, half = (half + chunk).split(b"\n")
            for line in whole:
                if self.containing in line:
                    yield line.decode("utf-8", "replace")
        if half:
            self._half[inode] = half[-LONGEST:]


class LogReader:
    """The three logs of a root as one; a context manager that closes their files.

    Lines without the text `containing` are left out before they cost anything.
    """

    def __init__(self, home: str, names: tuple[str, ...] = NAMES, containing: str = "") -> None:
        mark = containing.encode("utf-8", "backslashreplace")
        self._files = [LogFile(f"{home}/logs", name, mark) for name in names]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def everything(self, *, last: int | None = None, since: float = 0.0) -> list[Line]:
        """Return every line that is there, in the order of time; `last` and `since` as for one log."""
        lines = (line for file in self._files for line in file.everything(last=last, since=since))
        return sorted(lines, key=lambda line: line.at)

    def fresh(self) -> list[Line]:
        """Return what was written since the last call, in the order of time."""
        return sorted((line for file in self._files for line in file.fresh()), key=lambda line: line.at)
