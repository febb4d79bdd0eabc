"""What a benchmark answers, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.terms import TERMS, Bound, number

COLUMNS: Final = ("what", "value", "bound", "met", "ratio", "of", "note")
NOT_RUN: Final = "not run"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `ratio` compares it with `of`, measured in the same run.

    A figure without a value was not measured; the note says why. `key` names the term of the
    contract that this row is the answer to; see `answer`.
    """

    name: str
    value: float | None
    unit: str
    bound: Bound | None = None
    ratio: float | None = None
    of: str = ""
    note: str = ""
    key: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the bound holds; None without a bound or a value."""
        if self.bound is None or self.value is None:
            return None
        return self.bound.holds(self.value, self.ratio)

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `COLUMNS`."""
        measured = NOT_RUN if self.value is None else f"{number(self.value)} {self.unit}".strip()
        bound = "" if self.bound is None else str(self.bound)
        ratio = "" if self.ratio is None else f"{self.ratio:.3g} ×"
        return (self.name, measured, bound, verdict(self.is_met), ratio, self.of, self.note)


def answer(
    key: str, value: float | None, *, name: str = "", ratio: float | None = None, of: str = "", note: str = ""
) -> Row:
    """Return the row that answers a term: its unit and bound are the term's, and its words unless `name` is given."""
    term = TERMS[key]
    return Row(name or term.what, value, term.unit, term.bound, ratio, of, note, key)


def not_run(key: str, why: str) -> Row:
    """Return the row of a term that was not measured."""
    return answer(key, None, note=why)


def verdict(is_met: bool | None) -> str:
    """Return how a bound is said to hold."""
    return {None: "", True: "yes", False: "NO"}[is_met]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table with aligned columns."""
    return markdown(COLUMNS, [row.cells() for row in rows])


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as a Markdown table with aligned columns."""
    widths = [max(len(line[column]) for line in (columns, *lines)) for column in range(len(columns))]
    shown = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |"
        for line in (columns, *lines)
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([shown[0], rule, *shown[1:]])
