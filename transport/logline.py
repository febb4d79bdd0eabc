"""Reading one logfmt line back: what `transport.logs` wrote, and what the exit hook and the canary write."""

import re
from datetime import UTC, datetime
from typing import Final

PAIR: Final = re.compile(r'([^\s="]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))')
ESCAPE: Final = re.compile(r'\\(u[0-9a-f]{4}|U[0-9a-f]{8}|[\\"nrt])')
PLAIN: Final = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}


def fields_of(text: str) -> dict[str, str]:
    """Return the fields of a line; what is damaged has fewer of them, never an error. The first of a name counts."""
    found: dict[str, str] = {}
    for key, quoted, bare in PAIR.findall(text):
        found.setdefault(key, bare if bare else plain(quoted))
    return found


def plain(quoted: str) -> str:
    """Return what stood between the quotes before it was escaped."""
    return ESCAPE.sub(lambda match: PLAIN.get(match[1]) or _character(match[1]), quoted)


def _character(escape: str) -> str:
    number = int(escape[1:], 16)
    is_text = number < 0x110000 and not 0xD800 <= number < 0xE000
    return chr(number) if is_text else f"\\{escape}"


def wall_of(fields: dict[str, str]) -> float:
    """Return the time of a line in wall seconds, 0 when it has none."""
    try:
        at = datetime.fromisoformat(fields.get("ts", ""))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
