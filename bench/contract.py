"""Every number of the contract in one table, in its order, then our own, and whether each is met."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bench.rows import NOT_RUN, Row, markdown, not_run
from bench.terms import NUMBERS, OWN, PROCESSES, TERMS

QUICK: Final = "A quick run: fewer repetitions and smaller sizes than the contract names; see the notes."
COLUMNS: Final = ("what", "measured", "bound", "met", "ratio", "to the floor", "note")
FLOORS: Final = "floors"
MODULES: Final = (
    FLOORS,
    "delivery",
    "clients",
    "mcp_calls",
    "spool",
    "cli",
    "wake",
    "bridge",
    "idle",
    "tick",
    "watcher",
    "registry",
    "processes",
    "ephemeral",
    "doctor",
)


def answers(rows: Iterable[Row]) -> dict[str, Row]:
    """Return the rows that answer a term, by its key; raises ValueError for two answers to one."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.key in found:
            raise ValueError(f"two rows answer {row.key}: {found[row.key].name} and {row.name}")
        if row.key:
            found[row.key] = row
    return found


def compose(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each term, the contract's in its order before our own; what nobody answered says so."""
    found = answers(rows)
    keys = [key for group in (NUMBERS, PROCESSES, OWN) for key, term in TERMS.items() if term.group == group]
    return [found.get(key) or not_run(key, "no benchmark of this run answers it") for key in keys]


def unmet(rows: Iterable[Row]) -> list[Row]:
    """Return the rows whose bound does not hold."""
    return [row for row in rows if row.is_met is False]


def section(rows: Sequence[Row], floors: Sequence[Row], *, quick: bool, failed: Mapping[str, str]) -> str:
    """Return the whole table: the floors of this run, every term, and how many are met."""
    found = compose(rows)
    parts = [QUICK] if quick else []
    parts += [f"Benchmark `{name}` FAILED: {why}" for name, why in failed.items()]
    if floors:
        lines = [(row.name, row.cells()[1], row.note) for row in floors]
        parts.append(markdown(("floor of this run", "measured", "note"), lines))
    parts.append(markdown(COLUMNS, [(TERMS[row.key].what, *row.cells()[1:]) for row in found]))
    return "\n\n".join([*parts, summary(found)])


def summary(rows: Sequence[Row]) -> str:
    """Return how many bounds are met, are not, and were not measured."""
    met, absent = sum(row.is_met is True for row in rows), sum(row.value is None for row in rows)
    free = sum(row.bound is None and row.value is not None for row in rows)
    return f"{met} met, {len(unmet(rows))} NOT met, {absent} {NOT_RUN}, {free} without a bound."
