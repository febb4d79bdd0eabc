"""Drawing: history scrolls away upward, a live area below it is redrawn in place."""

import os

MARK = "»"
NBSP = "\u00a0"
KEPT_LINES = 200
SPINNER = "·✢✳✻"


class Question:
    """A dialog with options and a cursor; `marks` are the texts of the options."""

    def __init__(self, title: list[str], options: list[str], footer: str = "Enter to confirm · Esc to cancel") -> None:
        self.title = title
        self.options = options
        self.footer = footer
        self.cursor = 0

    def press(self, kind: str, value: str) -> str | None:
        """Return the option that this key takes, "" for Escape, None while nothing is decided."""
        if kind == "text" and value.isdecimal() and 1 <= int(value) <= len(self.options):
            return self.options[int(value) - 1]
        match kind, value:
            case "key", "up":
                self.cursor = (self.cursor - 1) % len(self.options)
            case "key", "down":
                self.cursor = (self.cursor + 1) % len(self.options)
            case "key", "enter":
                return self.options[self.cursor]
            case "key", "escape" | "interrupt":
                return ""
        return None

    def rows(self) -> list[str]:
        marked = [
            f" {MARK if number == self.cursor else ' '} {number + 1}. {option}"
            for number, option in enumerate(self.options)
        ]
        return [*(f" {line}" for line in self.title), "", *marked, "", f" {self.footer}"]


def width(text: str) -> int:
    """Return the columns that a terminal gives to `text`."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(0 if category(char) in ("Mn", "Me", "Cf") else 1 + (east_asian_width(char) in "WF") for char in text)


def wrap(text: str, columns: int) -> list[str]:
    """Cut one line into rows of at most `columns` columns."""
    if width(text) <= columns:
        return [text]
    rows, row, used = [], "", 0
    for char in text:
        size = width(char)
        if used + size > columns:
            rows.append(row)
            row, used = "", 0
        row, used = row + char, used + size
    return [*rows, row]


def printable(text: str) -> str:
    """Return `text` without what would move the cursor: tabs become four spaces."""
    text = text.replace("\t", "    ")
    return text if text.isprintable() else "".join(char for char in text if char.isprintable() or char == NBSP)


def marked(prefix: str, text: str, columns: int) -> list[str]:
    """Return the rows of a text behind a prefix, continued with an indent."""
    rows: list[str] = []
    for line in text.split("\n"):
        rows += wrap(printable(line), columns - 2)
    return [prefix + rows[0], *(f"  {row}" for row in rows[1:])]


class View:
    """The terminal on one descriptor; everything reaches it in one write per change."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._history: list[str] = []
        self._fresh: list[str] = []
        self._above = 0
        self.frozen = False
        self.resize()

    def resize(self) -> None:
        """Take the size of the terminal, and draw everything again at the next `draw`."""
        try:
            self.columns, self.height = os.get_terminal_size(self._descriptor)
        except OSError:
            self.columns, self.height = 80, 24
        self.columns, self.height = max(20, self.columns), max(8, self.height)
        self._whole = True

    def thaw(self) -> None:
        """Draw again after a freeze, everything."""
        self.frozen = False
        self.resize()

    def say(self, prefix: str, text: str) -> None:
        """Add to the history; shown by the next `draw`."""
        self._fresh += [prefix + text.replace("\n", "\n  ")]

    def write(self, text: str) -> None:
        """Write to the terminal as it is; one that has gone shows at the next read."""
        data = text.encode("utf-8", "replace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            return

    def draw(self, above: list[str], prefix: str, draft: str, below: list[str]) -> None:
        """Draw the live area: rows, the composer with the cursor at its end, rows."""
        if self.frozen:
            return
        rule = "─" * (self.columns - 1)
        composer = marked(prefix, draft, self.columns - 2)[-(self.height - 7) :]
        composer[0] = prefix + composer[0][2:]
        top = [*self._cut(above), rule, *composer]
        self._paint([*top, rule, *self._cut(below)], len(top) - 1, width(composer[-1]))

    def draw_question(self, question: Question) -> None:
        """Draw a dialog where the composer would be."""
        if not self.frozen:
            rows = self._cut(["─" * (self.columns - 1), *question.rows()])
            self._paint(rows, len(rows) - 1, 0)

    def _cut(self, rows: list[str]) -> list[str]:
        return [wrap(printable(row), self.columns - 1)[0] for row in rows]

    def _paint(self, rows: list[str], cursor_row: int, cursor_column: int) -> None:
        self._history = [*self._history, *self._fresh][-KEPT_LINES:]
        lines = self._history[-self.height :] if self._whole else self._fresh
        start = "\x1b[2J\x1b[H" if self._whole else f"\r\x1b[{self._above}A\x1b[J" if self._above else "\r\x1b[J"
        self._fresh, self._whole = [], False
        text = [row for line in lines for part in line.split("\n") for row in wrap(printable(part), self.columns - 1)]
        below = len(rows) - 1 - cursor_row
        self._above = cursor_row
        back = (f"\x1b[{below}A" if below else "") + "\r" + (f"\x1b[{cursor_column}C" if cursor_column else "")
        self.write("\x1b[?25l" + start + "\r\n".join([*text, *rows]) + back + "\x1b[?25h")
