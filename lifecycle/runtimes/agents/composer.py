"""The input line: typed text, and long pastes shown by a label."""

COLLAPSE_CHARACTERS = 900
COLLAPSE_LINES = 12


class Composer:
    """A draft, edited at its end. `shell` is the mode that a leading `!` switches on."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, str | None]] = []
        self._pasted = 0
        self.shell = False

    @property
    def text(self) -> str:
        """The draft as it would be submitted."""
        return "".join(text for text, _ in self._parts)

    @property
    def shown(self) -> str:
        """The draft as it stands on the screen."""
        return "".join(text if label is None else label for text, label in self._parts)

    def type(self, text: str) -> None:
        """Add typed characters."""
        if not self._parts and not self.shell and text.startswith("!"):
            self.shell, text = True, text[1:]
        if text:
            self._parts.append((text, None))

    def paste(self, text: str) -> None:
        """Add pasted text verbatim: CR becomes LF, control characters other than tab and LF go."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        text = "".join(char for char in text if char in "\n\t" or not ("\x7f" <= char < "\xa0" or char < " "))
        lines = text.count("\n")
        if len(text) <= COLLAPSE_CHARACTERS and lines < COLLAPSE_LINES:
            self.type(text)
            return
        self._pasted += 1
        extra = f" +{lines} lines" if lines else ""
        self._parts.append((text, f"[Pasted text #{self._pasted}{extra}]"))

    def backspace(self) -> None:
        """Remove the last character, or the last collapsed paste whole."""
        if not self._parts:
            self.shell = False
            return
        text, label = self._parts.pop()
        if label is None and len(text) > 1:
            self._parts.append((text[:-1], None))

    def clear(self) -> None:
        """Throw the draft away."""
        self._parts, self.shell = [], False

    def take(self) -> tuple[str, str]:
        """Return the draft as (text, shown) and leave the composer empty."""
        taken = self.text, self.shown
        self.clear()
        return taken
