"""What the libraries log goes into our log, not to standard error."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from transport.logs import Log

LONGEST: Final = 500
BURST: Final = 20
WINDOW_SECONDS: Final = 60.0


class LogHandler(logging.Handler):
    """Writes warnings of libraries as lines of ours.

    Whoever reaches a port can cause some of them, so that each place that warns has a few lines a minute.
    """

    def __init__(self, log: Log, now: Callable[[], float] = monotonic) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._now = now
        self._since: dict[tuple[str, int], tuple[float, int]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        place, now = (record.name, record.lineno), self._now()
        began, count = self._since.get(place, (now, 0))
        if now - began >= WINDOW_SECONDS:
            if count > BURST:
                self._log.write("library-more", logger=record.name, left_out=count - BURST)
            began, count = now, 0
        self._since[place] = (began, count + 1)
        if count < BURST:
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        cause = None if error is None else f"{type(error).__name__}: {error}"[:LONGEST]
        self._log.write(
            "library",
            logger=record.name,
            level=record.levelname.lower(),
            text=record.getMessage()[:LONGEST],
            error=cause,
        )


@contextmanager
def library_logs(log: Log) -> Iterator[None]:
    """Send the libraries' warnings to `log` while the block runs."""
    handler = LogHandler(log)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
