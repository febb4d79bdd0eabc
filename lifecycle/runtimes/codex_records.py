"""What the records of Codex's rollout prove.

Measured with 0.169.0; tests/lifecycle/runtimes/records has some.
"""

import json
from typing import Final

from transport.envelope import opening_id
from transport.vocabulary import Receipt

TAG: Final = b"<peer-message-"


def parse(line: bytes) -> tuple[str, Receipt] | None:
    """Return what one record of the rollout proves: a message of the user is consumed.

    The results of tools are records of other types, whatever they contain.
    """
    if TAG not in line:
        return None
    try:
        record = json.loads(line)
        payload = record["payload"]
        if record["type"] != "response_item" or payload["type"] != "message" or payload["role"] != "user":
            return None
        texts = [str(part["text"]) for part in payload["content"] if part.get("type") == "input_text"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return next(((found, Receipt.CONSUMED) for text in texts if (found := opening_id(text))), None)
