"""Logfmt lines that no field can forge, written so that a failing disk fails nothing else."""

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from transport.clock import Clock, iso
from transport.files import LockHeld, append_line, locked, replace

MAX_BYTES: Final = 4 << 20
KEEP: Final = 3
MOST: Final = 9
BARE: Final = re.compile(r"[A-Za-z0-9_./:@%+,-]+")
ESCAPES: Final = {"\\": r"\\", '"': r"\"", "\n": r"\n", "\r": r"\r", "\t": r"\t"}


def quote(value: object) -> str:
    """Return one logfmt value: bare where harmless, else quoted with every control character escaped."""
    text = str(value)
    if BARE.fullmatch(text):
        return text
    return f'"{"".join(map(_escape, text))}"'


def _escape(char: str) -> str:
    if char in ESCAPES:
        return ESCAPES[char]
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def logfmt(at: float, event: str, fields: dict[str, object]) -> str:
    """Return one line: `ts=… ev=… key=value …`, fields that are None left out."""
    pairs = {"ts": iso(at), "ev": event} | {key: value for key, value in fields.items() if value is not None}
    return " ".join(f"{key}={quote(value)}" for key, value in pairs.items())


class Log:
    """One log file, rotated by size; a write that fails is counted, never raised (I13)."""

    def __init__(self, path: Path, clock: Clock, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self.path = path
        self.failures = 0
        self._clock = clock
        self._max_bytes = max_bytes
        self._keep = keep
        self._mutex = threading.Lock()
        self._is_unsure = True

    def write(self, event: str, **fields: object) -> bool:
        """Append one line with the time of now; tells whether it is written."""
        line = logfmt(self._clock.wall(), event, fields)
        with self._mutex:
            try:
                self._rotate(len(line))
            except OSError:
                self.failures += 1
            try:
                append_line(self.path, line, mend=self._is_unsure)
                self._is_unsure = False
            except OSError:
                self.failures += 1
                self._is_unsure = True
            return not self._is_unsure

    def rotate(self) -> None:
        """Rotate the file if it is full; for a file that others than this object write to."""
        with self._mutex:
            try:
                self._rotate(0)
            except OSError:
                self.failures += 1

    def _rotate(self, coming: int) -> None:
        if not self._is_full(coming):
            return
        with suppress(LockHeld), locked(self.path.with_name(f".{self.path.name}.lock")):
            # Looked at again inside the lock: another process may have rotated in between.
            if self._is_full(coming):
                for number in range(self._keep - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        replace(self._rotated(number), self._rotated(number + 1))
                replace(self.path, self._rotated(1))
                for number in range(self._keep + 1, MOST + 1):
                    self._rotated(number).unlink(missing_ok=True)

    def _is_full(self, coming: int) -> bool:
        try:
            return self.path.stat().st_size + coming > self._max_bytes
        except FileNotFoundError:
            return False

    def _rotated(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class Logs:
    """The logs of one root, each rotated at `max_bytes`, with `keep` rotated files."""

    def __init__(self, directory: Path, clock: Clock, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self.lifecycle = Log(directory / "lifecycle.log", clock, max_bytes, keep)
        self.delivery = Log(directory / "delivery.log", clock, max_bytes, keep)
        self.exits = Log(directory / "exits.log", clock, max_bytes, keep)

    @property
    def failures(self) -> int:
        return self.lifecycle.failures + self.delivery.failures + self.exits.failures
