"""Looks at sessions and flags from outside while a run goes on, and reads in the end what the product wrote of them."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults.processes import has_client
from tests.faults.sightings import Life, Line, Sightings, Span
from tests.live.world import World
from transport.logline import fields_of
from transport.process import ProcessId

LOOK_SECONDS: Final = 0.1
ROOM_BYTES: Final = 1 << 16
STOPPED: Final = "stopped"
PLACES: Final = {"exits.log": ("server_pid", "cause"), "lifecycle.log": ("tmux", "why")}
OPENING_KINDS: Final = ("initial-prompt", "initial-prompt-failed")
TOLD: Final = "True"
KINDS: Final = ("session-exit", "server-exit", "close")


@dataclass(slots=True)
class Witness:
    """Looks in a thread of its own from `start` to `stop`."""

    world: World
    seen: Sightings = field(default_factory=Sightings)
    _living: dict[tuple[str, str], tuple[Life, ProcessId]] = field(default_factory=dict)
    _closed: set[Line] = field(default_factory=set)
    _flags: dict[tuple[str, int, int], tuple[Span, Span | None]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what ends from now on is not judged."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Take down what can be seen now."""
        for identity, fence, tmux, agent in _records(self.world.root.state):
            if (identity, fence) not in self._living:
                life = Life(identity, tmux.pid, agent.pid)
                self._living[identity, fence] = (life, agent)
                self.seen.lives.append(life)
        for life, agent in self._living.values():
            if life.gone_at is None and not agent.is_alive():
                life.gone_at = time.time()
        self._closed.update(_last_closed(self.world.root.state))
        self._look_at_flags(STOPPED, self.seen.flagged)
        self._look_at_flags("failed", self.seen.failed)
        disk = os.statvfs(self.world.root.home)
        if disk.f_frsize * disk.f_bavail < ROOM_BYTES:
            self.seen.full_at.append(time.time())

    def _look_at_flags(self, flag: str, spans: list[Span]) -> None:
        for path in self.world.root.state.glob(f"*.{flag}"):
            now = time.time()
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            name = (path.name, found.st_ino, found.st_mtime_ns)
            flagged, stop = self._flags.get(name, (None, None))
            if flagged is None:
                flagged = Span(path.stem, now, now)
                spans.append(flagged)
            if flag == STOPPED and stop is None and not has_client(self.world, path.stem):
                stop = Span(path.stem, time.time(), now)
                self.seen.stops.append(stop)
            flagged.ended = now
            if stop is not None:
                stop.ended = max(stop.ended, now)
            self._flags[name] = (flagged, stop)

    def read_logs(self) -> None:
        """Take what was written of ends, rotated files too.

        A server that is killed behind a close has no time for its line, but the last record says why it was closed.
        """
        logs = self.world.root.logs
        lines = [line for name in PLACES for path in sorted(logs.glob(f"{name}*")) for line in _lines(path)]
        for path in logs.glob("lifecycle.log*"):
            self.seen.untold.update(_untold(path))
        self.seen.lines = [*lines, *sorted(self._closed - set(lines), key=str)]


def _records(state: Path) -> Iterator[tuple[str, str, ProcessId, ProcessId]]:
    """Yield identity, fence, tmux server and client of each session that has been started."""
    for path in state.glob("*.session"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(path.read_text())
            tmux, agent = (ProcessId(data[name]["pid"], data[name]["started"]) for name in ("tmux", "pane"))
            yield path.stem, data["fence"], tmux, agent


def _last_closed(state: Path) -> Iterator[Line]:
    """Yield the last session of each identity, if somebody closed it."""
    for path in state.glob("*.last"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            data = json.loads(path.read_text())
            if data["end"] is not None and data["is_closing"]:
                yield Line("close", path.stem, int(data["tmux"]["pid"]), str(data["end"]))


def _read(path: Path) -> Iterator[dict[str, str]]:
    """Yield the fields of each line of a log."""
    return map(fields_of, path.read_text("utf-8", "replace").splitlines())


def _untold(path: Path) -> Iterator[str]:
    """Yield the identity of each session that was told something first and has not taken it."""
    for fields in _read(path):
        if fields.get("ev") in OPENING_KINDS and fields.get("taken") != TOLD:
            yield fields.get("identity", "")


def _lines(path: Path) -> Iterator[Line]:
    pid, why = PLACES[path.name.partition(".log")[0] + ".log"]
    for fields in _read(path):
        if fields.get("ev") in KINDS and fields.get(pid, "").isdecimal():
            who = fields.get("identity", ""), int(fields[pid])
            yield Line(fields["ev"], *who, fields.get(why, ""), fields.get("server_started", ""))
