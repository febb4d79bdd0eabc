"""What the libraries log goes into our log, not to standard error."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from transport.logs import Log

LONGEST: Final = 500


class LogHandler(logging.Handler):
    """Writes warnings of libraries as lines of ours."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
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
