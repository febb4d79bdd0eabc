"""Every process that a tree of processes starts, as the kernel tells it (Linux, root, CONFIG_PROC_EVENTS)."""

import os
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

NETLINK_CONNECTOR: Final = 11
CN_IDX_PROC: Final = 1
LISTEN: Final = 1
EVENT_AT: Final = 36
FORK: Final = 1
EXEC: Final = 2
EXIT: Final = 0x80000000
BUFFER_BYTES: Final = 16 << 20
FENCE_SECONDS: Final = 10.0


class NoEvents(OSError):
    """The kernel tells nothing of processes here; the text says what it would need."""


@dataclass(slots=True)
class Birth:
    """One process: who started it, and what it became, empty as long as it is a copy of its parent."""

    pid: int
    parent: int
    became: str = ""


@dataclass(slots=True)
class Births:
    """While entered, collects what is started by `seeds`, by what they start, and so on."""

    seeds: Iterable[int]
    found: dict[int, Birth] = field(default_factory=dict)
    _members: set[int] = field(init=False)
    _fences: set[int] = field(default_factory=set)
    _seen: set[int] = field(default_factory=set)
    _socket: socket.socket = field(init=False)
    _thread: threading.Thread = field(init=False)
    _lost: bool = False

    def __enter__(self) -> Self:
        self._members = set(self.seeds)
        self._socket = _subscribe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self._fence()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self._fence()
        finally:
            self._socket.close()
            self._thread.join(FENCE_SECONDS)
        if kind is None and self._lost:
            raise NoEvents("the kernel told more than could be read: some events were lost")

    def __len__(self) -> int:
        return len(self.found)

    def told(self) -> str:
        """Return what was started, most often first."""
        counts = Counter(birth.became or "a fork" for birth in self.found.values())
        return ", ".join(f"{count} × {name}" for name, count in counts.most_common())

    def _fence(self) -> None:
        """Return when everything that happened before now has been read."""
        with subprocess.Popen(["/bin/true"]) as process:
            self._fences.add(process.pid)
            self.found.pop(process.pid, None)
        until = time.monotonic() + FENCE_SECONDS
        while process.pid not in self._seen:
            if time.monotonic() > until:
                raise NoEvents(f"the kernel said nothing of a process in {FENCE_SECONDS:g} s")
            time.sleep(0.001)
        self.found.pop(process.pid, None)

    def _read(self) -> None:
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                if self._socket.fileno() < 0:
                    return
                self._lost = self._lost or error.errno is not None
                continue
            if len(data) < EVENT_AT + 40:
                continue
            what, first, second, third, fourth = struct.unpack_from("=I12xIIII", data, EVENT_AT)
            if what == FORK:
                self._forked(parent=second, child=third, group=fourth)
            elif what == EXEC and second in self.found:
                self.found[second].became = _name(second)
            elif what == EXIT and first == second:
                self._seen.add(second)

    def _forked(self, parent: int, child: int, group: int) -> None:
        # A new thread is told as a fork too; a process is the first of its group.
        if child == group and parent in self._members and child not in self._fences:
            self._members.add(child)
            self.found[child] = Birth(child, parent)


def _subscribe() -> socket.socket:
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_CONNECTOR)
    except (OSError, AttributeError) as error:
        raise NoEvents(f"no process events: {error}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), BUFFER_BYTES)
        made.bind((0, CN_IDX_PROC))
        made.settimeout(0.2)
        body = struct.pack("=IIIIHHI", CN_IDX_PROC, 1, 0, 0, 4, 0, LISTEN)
        made.send(struct.pack("=IHHII", 16 + len(body), 3, 0, 0, 0) + body)
    except OSError as error:
        made.close()
        raise NoEvents(f"no process events without root: {error}") from error
    return made


def _name(pid: int) -> str:
    """Return the program a process runs and what tells it from its like, while it is still there."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
    except OSError:
        return "a program that was gone at once"
    names = [os.path.basename(word) for word in words if word and not word.startswith("-")]  # noqa: PTH119
    return " ".join(names[:2])[:40] or "?"
