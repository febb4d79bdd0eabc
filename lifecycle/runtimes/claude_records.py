"""What the records of Claude Code's transcript prove.

Measured with 2.1.328 and 2.1.197; tests/lifecycle/runtimes/records has some.
"""

import json
import re
from typing import Any, Final

from transport.envelope import opening_id
from transport.vocabulary import Receipt

TAG: Final = b"<peer-message-"
PASTED: Final = re.compile(r'\s*<pasted_content id="[^"<>\n]{1,40}">\n')


def parse(line: bytes) -> tuple[str, Receipt] | None:
    """Return what one record of the transcript proves.

    `enqueue` is injected: the client's own queue has the message, and loses it when killed. Consumed is
    a prompt of the main conversation, or a queued one that was handed to the model in mid-turn. The
    results of tools are records of the type `user` too and prove nothing.
    """
    if TAG not in line:
        return None
    try:
        record = json.loads(line)
        if not isinstance(record, dict) or record.get("isSidechain") or record.get("isMeta"):
            return None
        texts, evidence = _texts(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    ids = (_opening_id(text) for text in texts)
    return next(((message_id, evidence) for message_id in ids if message_id), None)


def _texts(record: dict[str, Any]) -> tuple[list[str], Receipt]:
    match record["type"], record.get("operation"):
        case "user", _:
            return _blocks(record["message"]["content"]), Receipt.CONSUMED
        case "attachment", _ if record["attachment"]["type"] == "queued_command":
            return _blocks(record["attachment"]["prompt"]), Receipt.CONSUMED
        case "queue-operation", "enqueue":
            return _blocks(record["content"]), Receipt.INJECTED
        case _:
            return [], Receipt.INJECTED


def _blocks(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    blocks = content if isinstance(content, list) else []
    return [str(block["text"]) for block in blocks if isinstance(block, dict) and block.get("type") == "text"]


def _opening_id(text: str) -> str | None:
    """Return the id of an envelope that begins the text, bare or as the client marks a long paste."""
    pasted = PASTED.match(text)
    return opening_id(text[pasted.end() :] if pasted else text)
