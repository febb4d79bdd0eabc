"""Bytes of a terminal in raw mode → what was pressed, typed and pasted."""

import codecs

PASTE_END = "\x1b[201~"
NAMES = {
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x15": "kill",
    "\x03": "interrupt",
    "\x04": "eof",
    "\t": "tab",
}
FINAL = {"A": "up", "B": "down", "C": "right", "D": "left"}


class Keys:
    """An incremental decoder; events are ("key", name), ("text", typed) and ("paste", text)."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._buffer = ""
        self._pasting = False
        self._scanned = 0

    @property
    def escape_waits(self) -> bool:
        """Whether a lone ESC is held back because more bytes may make it a sequence."""
        return not self._pasting and self._buffer.startswith("\x1b")

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Return the events that `data` completes."""
        self._buffer += self._decoder.decode(data)
        events: list[tuple[str, str]] = []
        while self._buffer:
            event = self._paste() if self._pasting else self._next()
            if event is None:
                break
            if event[1]:
                events.append(event)
        return events

    def flush(self) -> list[tuple[str, str]]:
        """Return what a held back ESC means now that nothing followed it."""
        if not self.escape_waits:
            return []
        rest, self._buffer = self._buffer[1:], ""
        return [("key", "escape"), *self.feed(rest.encode())]

    def _take(self, count: int) -> str:
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def _paste(self) -> tuple[str, str] | None:
        end = self._buffer.find(PASTE_END, max(0, self._scanned - len(PASTE_END)))
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        self._pasting, self._scanned = False, 0
        return "paste", self._take(end + len(PASTE_END))[:end]

    def _next(self) -> tuple[str, str] | None:
        first = self._buffer[0]
        if first == "\x1b":
            return self._escape()
        if first in NAMES:
            return "key", NAMES[self._take(1)]
        if not first.isprintable():
            self._take(1)
            return "key", ""
        length = 1
        while length < len(self._buffer) and self._buffer[length].isprintable():
            length += 1
        return "text", self._take(length)

    def _escape(self) -> tuple[str, str] | None:
        if len(self._buffer) < 2:
            return None
        if self._buffer[1] not in "[O":
            self._take(2)
            return "key", ""
        for position in range(2, len(self._buffer)):
            if "@" <= self._buffer[position] <= "~":
                sequence = self._take(position + 1)
                self._pasting = sequence == "\x1b[200~"
                return "key", FINAL.get(sequence[2:], "")
        return None
