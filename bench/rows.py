"""What a benchmark answers, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

COLUMNS: Final = ("what", "value", "bound", "ratio", "of", "note")


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: `ratio` compares it with `of`, measured in the same run; `bound` is the contract's words."""

    name: str
    value: float
    unit: str
    bound: str = ""
    ratio: float | None = None
    of: str = ""
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, in the order of `COLUMNS`."""
        ratio = "" if self.ratio is None else f"{self.ratio:.3g} ×"
        return (self.name, f"{number(self.value)} {self.unit}".strip(), self.bound, ratio, self.of, self.note)


def number(value: float) -> str:
    """Return a figure with three significant digits, or all of them from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table with aligned columns."""
    cells = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
