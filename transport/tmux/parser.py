"""The protocol of a tmux control client: bytes in, blocks and the farewell out."""

from dataclasses import dataclass, field
from typing import Final

LINE_MAX: Final = 4 << 20


class Garbled(Exception):
    """The stream broke the protocol: what follows cannot be understood."""


@dataclass(frozen=True, slots=True)
class Block:
    """The answer to one command; `asked` is False for what tmux runs by itself, as the attach at the start."""

    lines: tuple[str, ...]
    ok: bool
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Exit:
    """tmux said that this client ends, perhaps why."""

    reason: str


@dataclass(slots=True)
class Parser:
    """Collects blocks; notifications between blocks are skipped."""

    _rest: bytes = b""
    _open: tuple[str, ...] | None = None
    _lines: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> list[Block | Exit]:
        """Return what these bytes completed; raises Garbled."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            raise Garbled(f"a line longer than {LINE_MAX} bytes")
        found = [self._line(line.decode("utf-8", "replace")) for line in lines]
        return [item for item in found if item is not None]

    def _line(self, line: str) -> Block | Exit | None:
        if self._open is not None:
            return self._inside(line, self._open)
        word, _, rest = line.partition(" ")
        match word:
            case "%begin":
                self._open = tuple(rest.split())
            case "%exit":
                return Exit(rest)
            case "%end" | "%error":
                raise Garbled(f"{word} without %begin")
            case _ if not word.startswith("%"):
                raise Garbled(f"text outside an answer: {line!r:.80}")
        return None

    def _inside(self, line: str, opened: tuple[str, ...]) -> Block | None:
        word, _, rest = line.partition(" ")
        if word not in ("%end", "%error") or tuple(rest.split()) != opened:
            self._lines.append(line)
            return None
        block = Block(tuple(self._lines), word == "%end", opened[-1:] == ("1",))
        self._open = None
        self._lines = []
        return block
