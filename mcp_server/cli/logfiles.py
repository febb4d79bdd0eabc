"""Reading the logs of a root: lines of several files in the order of time, followed across rotation."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import BinaryIO

NAMES = ("lifecycle", "delivery", "exits")
ROTATED = 9
CHUNK = 1 << 16
PAIR = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
ESCAPE = re.compile(r'\\(u[0-9a-f]{4}|U[0-9a-f]{8}|[\\"nrt])')
PLAIN = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}
WHOSE = ("identity", "sender")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its time in wall seconds (0 when it has none), the log it stands in, its text and its fields."""

    at: float
    log: str
    text: str
    fields: dict[str, str]

    def is_about(self, name: str) -> bool:
        """Tell whether this is about a peer, given by its name or as one identity."""
        values = [self.fields.get(key, "") for key in WHOSE]
        return any(name in (value, value.partition("-")[2]) for value in values if value)


def parse(log: str, text: str) -> Line:
    """Return one logfmt line; what is damaged has fewer fields, never an error."""
    fields = {key: bare if bare else _plain(quoted) for key, quoted, bare in PAIR.findall(text)}
    return Line(_wall(fields.get("ts", "")), log, text, fields)


def _plain(quoted: str) -> str:
    return ESCAPE.sub(lambda match: PLAIN.get(match[1]) or chr(int(match[1][1:], 16)), quoted)


def _wall(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


@dataclass(slots=True)
class LogFile:
    """One log with its rotated predecessors; `fresh` goes on where the last call ended."""

    directory: str
    name: str
    inode: int | None = None
    offset: int = 0
    _half: dict[int, bytes] = field(default_factory=dict)

    def everything(self) -> Iterator[Line]:
        """Yield every line there is, the oldest first, and remember where it ended."""
        self.inode, self.offset = None, 0
        yield from self.fresh()

    def fresh(self) -> Iterator[Line]:
        """Yield the lines written since the last call, also those that were rotated away meanwhile."""
        files = self._open()
        try:
            known = [number for number, (inode, _) in enumerate(files) if inode == self.inode]
            if known and files[known[0]][0] == self.inode:
                files[known[0]][1].seek(self.offset)
                todo = files[known[0] :]
            else:
                todo = files
            for inode, file in todo:
                for text in self._lines(inode, file):
                    yield parse(self.name, text)
                self.inode, self.offset = inode, file.tell()
        finally:
            for _, file in files:
                file.close()

    def _open(self) -> list[tuple[int, BinaryIO]]:
        """Return the open files, the oldest first; one that is rotated meanwhile is met once."""
        found: dict[int, BinaryIO] = {}
        paths = [f"{self.directory}/{self.name}.log{suffix}" for suffix in ("", *(f".{n}" for n in range(1, ROTATED)))]
        for path in paths:
            try:
                file = open(path, "rb")  # noqa: PTH123, SIM115 (closed by fresh)
            except OSError:
                continue
            inode = os.fstat(file.fileno()).st_ino
            if inode in found:
                file.close()
            else:
                found[inode] = file
        return list(reversed(found.items()))

    def _lines(self, inode: int, file: BinaryIO) -> Iterator[str]:
        half = self._half.pop(inode, b"") if file.tell() else b""
        while chunk := file.read(CHUNK):
            *whole, half = (half + chunk).split(b"\n")
            for line in whole:
                yield line.decode("utf-8", "replace")
        if half:
            self._half[inode] = half


class LogReader:
    """The three logs of a root as one."""

    def __init__(self, home: str, names: tuple[str, ...] = NAMES) -> None:
        self._files = [LogFile(f"{home}/logs", name) for name in names]

    def everything(self) -> list[Line]:
        """Return every line that is there, in the order of time."""
        return sorted((line for file in self._files for line in file.everything()), key=lambda line: line.at)

    def fresh(self) -> list[Line]:
        """Return what was written since the last call, in the order of time."""
        return sorted((line for file in self._files for line in file.fresh()), key=lambda line: line.at)
