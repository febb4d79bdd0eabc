"""The words of prompt composition: layers, pieces, and the whole. Imports nothing of ours."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Final

EDITION_DIGITS: Final = 12
DATE: Final = "date"


class Layer(StrEnum):
    """From general to specific, in the order they are read."""

    FACTS = "facts"
    RULES = "rules"
    DOCTRINE = "doctrine"
    REGISTRY = "registry"
    DOMAIN = "domain"
    FRAGMENTS = "fragments"


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of a layer; `path` is the file it was read from, None for text of ours."""

    layer: Layer
    text: str
    path: Path | None = None

    @property
    def size(self) -> int:
        """Bytes in UTF-8."""
        return len(self.text.encode())


@dataclass(frozen=True, slots=True)
class Flaw:
    """A file that was left out, or taken only as far as it could be, and what to do about it."""

    path: Path
    problem: str


@dataclass(frozen=True)
class Prompt:
    """What an agent is told at its start; without pieces it starts bare and is passed nothing.

    The edition names what stands in it but for the date and the registry, which change from day to day.
    """

    pieces: tuple[Piece, ...] = ()
    flaws: tuple[Flaw, ...] = field(default=())

    @cached_property
    def edition(self) -> str:
        return _digest(_lasting(piece) for piece in self.pieces if piece.layer is not Layer.REGISTRY)

    @cached_property
    def text(self) -> str:
        """The whole; empty for a bare start. Its first line names the edition."""
        if not self.pieces:
            return ""
        return "\n\n".join((f"<!-- peerwake prompt, edition {self.edition} -->", *(p.text for p in self.pieces))) + "\n"

    @property
    def is_bare(self) -> bool:
        return not self.pieces

    def size(self, layer: Layer) -> int:
        """Return the bytes of one layer."""
        return sum(piece.size for piece in self.pieces if piece.layer is layer)


def _lasting(piece: Piece) -> str:
    if piece.layer is not Layer.FACTS:
        return piece.text
    return "\n".join(line for line in piece.text.split("\n") if not line.startswith(f"{DATE}: "))


def _digest(texts: Iterable[str]) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()[:EDITION_DIGITS]
