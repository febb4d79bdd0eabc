"""Text for people: aligned columns, nothing in the data can move the cursor or the colour."""

import json
import os
from collections.abc import Sequence

from mcp_server.cli.context import Context

UNPRINTED = {
    code: f"\\u{code:04x}"
    for code in (*range(0x7F, 0xA0), 0x200E, 0x200F, 0x061C, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}
COLOURS = {
    "live": "32", "busy": "33", "booting": "33", "asleep": "2", "stopped": "2", "unknown": "2",
    "blocked": "31", "failed": "31", "ok": "32", "warning": "33", "error": "31",
}  # fmt: skip


def escape(text: object) -> str:
    """Return `text` on one line with every character that is not printable made visible."""
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(char if char.isprintable() else _visible(char) for char in plain)


def _visible(char: str) -> str:
    number = ord(char)
    return {"\n": r"\n", "\t": r"\t", "\r": r"\r"}.get(char) or (
        f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
    )


def columns(text: str) -> int:
    """Return how many terminal columns `text` takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    marks = sum(unicodedata.combining(char) != 0 for char in text)
    return len(text) + wide - marks


def shorten(text: str, width: int) -> str:
    """Cut `text` to `width` columns, with an ellipsis where something is missing."""
    if columns(text) <= width:
        return text
    while text and columns(text) > width - 1:
        text = text[:-1]
    return text + "…"


def paint(context: Context, word: str, padded: str | None = None) -> str:
    """Return a state's word in its colour, if the output is a terminal."""
    colour = COLOURS.get(word)
    shown = padded or word
    return f"\x1b[{colour}m{shown}\x1b[0m" if colour and context.has_colour else shown


def table(context: Context, titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under titles, columns aligned, the last one cut at the terminal's edge."""
    cells = [list(titles), *([escape("-" if cell is None or cell == "" else cell) for cell in row] for row in rows)]
    widths = [max(columns(row[index]) for row in cells) for index in range(len(titles))]
    room = None if context.width is None else max(8, context.width - sum(widths[:-1]) - 2 * (len(widths) - 1))
    for number, row in enumerate(cells):
        head = [_padded(context, cell, width, number) for cell, width in zip(row[:-1], widths, strict=False)]
        last = row[-1] if room is None else shorten(row[-1], room)
        line = "  ".join([*head, paint(context, last) if number else last])
        context.say(f"\x1b[1m{line}\x1b[0m" if number == 0 and context.has_colour else line)


def _padded(context: Context, cell: str, width: int, number: int) -> str:
    padded = cell + " " * (width - columns(cell))
    return paint(context, cell, padded) if number else padded


def document(context: Context, value: object, indent: int | None = 2) -> None:
    """Print one JSON document; what could move a terminal's cursor or the order of its text is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # JSON itself escapes only C0; a bare character as these stands nowhere but within a string.
    context.say(text.translate(UNPRINTED))


def whose(context: Context) -> dict[str, str]:
    """Return the `host` and `tenant_id` that every JSON row carries."""
    import pwd

    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    return {"host": os.uname().nodename.split(".")[0], "tenant_id": user}
