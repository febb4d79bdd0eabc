"""What the records of the bundled agent's transcript prove."""

import json
from typing import Final

from transport.envelope import opening_id
from transport.vocabulary import Receipt

EVIDENCE: Final = {"user": Receipt.CONSUMED, "queued": Receipt.INJECTED}


def parse(line: bytes) -> tuple[str, Receipt] | None:
    """Return what one record of the transcript proves: `queued` is injected, `user` consumed."""
    if not line.startswith((b'{"type": "user"', b'{"type": "queued"')):
        return None
    try:
        record = json.loads(line)
        message_id = opening_id(record["text"])
        return None if message_id is None else (message_id, EVIDENCE[record["type"]])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
