"""The reader for clients that write JSON lines of a form nobody knows: an envelope in a record is the evidence."""

import json
from typing import Final

from lifecycle.runtimes.base import Reader
from transport.envelope import opening_id
from transport.vocabulary import Receipt

DEPTH: Final = 12
MARK: Final = b"<peer-message-"


def parse(line: bytes) -> tuple[str, Receipt] | None:
    """Return the message whose envelope begins a text of this record, JSON or plain."""
    if MARK not in line:
        return None
    try:
        found = _find(json.loads(line), DEPTH)
    except RecursionError:
        return None
    except ValueError:
        found = opening_id(line.decode("utf-8", "replace"))
    return None if found is None else (found, Receipt.CONSUMED)


def _find(value: object, depth: int) -> str | None:
    match value:
        case str():
            return opening_id(value)
        case dict() | list() if depth:
            each = value.values() if isinstance(value, dict) else value
            return next(filter(None, (_find(item, depth - 1) for item in each)), None)
    return None


READER: Final = Reader(parse=parse, locate=lambda _: None)
