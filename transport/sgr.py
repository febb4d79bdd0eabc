"""Reading the styles in a capture: which characters are faint, as clients draw text nobody typed."""

import re
from typing import Final

SGR: Final = re.compile(r"\x1b\[([0-9;:]*)m")
OTHER: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-Za-z]|.)|[\x0e\x0f]")


def split_faint(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the plain lines of a capture, and the same lines with faint characters blanked.

    The second is empty when nothing is faint. A client's own cursor (one reversed character) before
    faint text is blanked with it.
    """
    if "\x1b" not in text:
        return tuple(line.rstrip(" ") for line in text.split("\n")), ()
    faint = reverse = False
    plain: list[str] = []
    solid: list[str] = []
    for line in text.split("\n"):
        shown, styles = "", ""
        for piece, codes in _pieces(line):
            if codes is not None:
                faint, reverse = _apply(codes, faint, reverse)
                continue
            shown += piece
            styles += ("f" if faint else "r" if reverse else ".") * len(piece)
        plain.append(shown.rstrip(" "))
        solid.append(_blank(shown, styles).rstrip(" "))
    return tuple(plain), tuple(solid)


def _pieces(line: str) -> list[tuple[str, str | None]]:
    """Split a line into texts (codes None) and the codes of its styles."""
    pieces: list[tuple[str, str | None]] = []
    position = 0
    for found in SGR.finditer(line):
        pieces.append((OTHER.sub("", line[position : found.start()]), None))
        pieces.append(("", found.group(1)))
        position = found.end()
    pieces.append((OTHER.sub("", line[position:]), None))
    return pieces


def _apply(codes: str, faint: bool, reverse: bool) -> tuple[bool, bool]:
    fields = codes.split(";")
    while fields:
        field = fields.pop(0)
        match field:
            case "" | "0":
                faint = reverse = False
            case "2":
                faint = True
            case "22":
                faint = False
            case "7":
                reverse = True
            case "27":
                reverse = False
            case "38" | "48" | "58":
                del fields[: 2 if fields[:1] == ["5"] else 4]
            case _:
                continue
    return faint, reverse


def _blank(shown: str, styles: str) -> str:
    styles = re.sub(r"(?<!r)r(?=f)", "f", styles)
    return "".join(" " if style == "f" else char for char, style in zip(shown, styles, strict=True))
