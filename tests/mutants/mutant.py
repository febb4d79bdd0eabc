"""The mutants: lines of the product that must not change, and the tests that notice it."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
TOP: Final = HERE.parent.parent
BOOKS: Final = ("durability", "terminal", "sessions", "access")


class DoesNotApply(Exception):
    """The product has changed: the mutant's old text does not stand in its file exactly once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One break of the product: `old` in `file` becomes `new`, and each test of `killers` must fail."""

    name: str
    book: str
    file: str
    old: str
    new: str
    why: str
    killers: tuple[str, ...]

    def applied(self, source: str) -> str:
        """Return the source with the mutant in it; raises DoesNotApply."""
        times = source.count(self.old)
        if times != 1:
            raise DoesNotApply(f"{self.name}: its old text stands {times} times in {self.file}, not once")
        return source.replace(self.old, self.new)


def load(top: Path = TOP) -> list[Mutant]:
    """Return all mutants in the order of the books; raises KeyError or TypeError for a damaged one."""
    found: list[Mutant] = []
    for book in BOOKS:
        entries = tomllib.loads((top / "tests" / "mutants" / f"{book}.toml").read_text("utf-8"))["mutant"]
        found += [Mutant(**{**entry, "killers": tuple(entry["killers"])}, book=book) for entry in entries]
    return found


def names_of_tests(source: str) -> set[str]:
    """Return the names of the test functions in a test file's source."""
    lines = (line.removeprefix("async ").removeprefix("def ") for line in source.splitlines())
    return {line.partition("(")[0] for line in lines if line.startswith("test_")}


def table(mutants: Sequence[Mutant]) -> str:
    """Return the mutants as the Markdown table of docs/testing.md."""
    rows = ["| mutant | file | why it matters | killed by |", "| --- | --- | --- | --- |"]
    for mutant in mutants:
        killers = ", ".join(f"`{killer.rpartition('::')[2]}`" for killer in mutant.killers)
        rows.append(f"| {mutant.name} | `{mutant.file}` | {mutant.why} | {killers} |")
    return "\n".join(rows)
