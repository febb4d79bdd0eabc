"""The shape of a tool's answer: one line for the model, the structure for the rest."""

from dataclasses import dataclass
from typing import Any, Final

from transport.errors import InvalidInput, PeerwakeError

COMPLETE: Final = "complete"
FIXED: Final[dict[str, Any]] = {"resultType": COMPLETE, "ttlMs": 300_000, "cacheScope": "public"}
CURRENT: Final[dict[str, Any]] = {"resultType": COMPLETE, "ttlMs": 0, "cacheScope": "private"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One line a model can act on, and the structured content."""

    text: str
    structure: dict[str, Any]


def result(answer: Answer) -> dict[str, Any]:
    """Return an answer as the wire result of `tools/call`."""
    return {
        "content": [{"type": "text", "text": answer.text}],
        "structuredContent": answer.structure,
        "isError": False,
    }


def failure(error: PeerwakeError) -> dict[str, Any]:
    """Return a refusal as the wire result of `tools/call`; its `code` is stable, its text says what to do."""
    text = printable(str(error))
    structure = {"status": "error", "code": error.code, "reason": text}
    if isinstance(error, InvalidInput):
        structure["field"] = error.field
    return {"content": [{"type": "text", "text": text}], "structuredContent": structure, "isError": True}


def printable(text: str) -> str:
    """Return `text` without lone surrogates, which no JSON writer can encode."""
    return text.encode("utf-8", "backslashreplace").decode()
