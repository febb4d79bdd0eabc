"""`python -m bench [NAME …] [--quick] [--record [--note TEXT]] [--strict] [--minutes N]`: run benchmarks, show figures.

Without a name: every module that is not long, and the contract's table at the end. `contract` runs only what
that table needs, `profile [PATH …]` prints where a path spends its time.
"""

import argparse
import importlib
import pkgutil
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import bench
from bench.contract import FLOORS, MODULES, section, unmet
from bench.machine import TOP, describe
from bench.profile import PATHS, profile
from bench.rows import Row, table

RESULTS: Final = TOP / "bench" / "RESULTS.md"
CONTRACT: Final = "contract"
SOAK: Final = "soak"
PROFILE: Final = "profile"
NAMES: Final = "one of: {} (default: all but the long ones); or: profile [send] [hand-over] [wake], which only prints"
NOTE: Final = "> "
LONG: Final = frozenset({"growth", SOAK})
TITLE: Final = """# Results

Written by `scripts/bench --record`. Each section is one run of one module of `bench/`, the one at the top is one run
of all that the contract's numbers need; a ratio compares with something measured in the same run. A line that begins
with `>` is a note that somebody made on the run it names (`--record --note TEXT`); it stays when others are recorded.
"""


def available() -> list[str]:
    """Return the names of the modules of `bench/` that define a `run`."""
    names = (f"bench.{module.name}" for module in pkgutil.iter_modules(bench.__path__) if module.name != "__main__")
    found = ((name, getattr(importlib.import_module(name), "run", None)) for name in names)
    return sorted(name.removeprefix("bench.") for name, run in found if run is not None and run.__module__ == name)


def record(path: Path, name: str, text: str, note: str = "") -> None:
    """Replace the section of `name` in the results, or add it; the contract's comes first.

    The notes of the section, lines that begin with `> `, stay, and `note` is added to them.
    """
    sections = _sections(path)
    notes = [line for line in sections.get(name, "").splitlines() if line.startswith(NOTE)]
    notes += [NOTE + " ".join(note.split())] if note else []
    sections[name] = "\n\n".join([text.strip(), *notes])
    order = sorted(sections, key=lambda key: (key != CONTRACT, key))
    parts = [TITLE.strip(), *(f"## {key}\n\n{sections[key]}" for key in order)]
    path.write_text("\n\n".join(parts) + "\n")


def signed(note: str, machine: str) -> str:
    """Return a note that says of which run it is: a later one keeps it. Empty without a note."""
    return f"{', '.join(machine.split(', ')[-2:])}: {note}" if note else ""


@dataclass(slots=True)
class Book:
    """The rows of one run, by module; each is printed as it comes, and recorded where that is asked for."""

    quick: bool
    minutes: float
    record: bool
    note: str = ""
    machine: str = field(default_factory=describe)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def run(self, name: str) -> None:
        """Run one module; what fails is told, and the others go on."""
        module, began = importlib.import_module(f"bench.{name}"), time.monotonic()
        try:
            self.rows[name] = module.run(self.quick, self.minutes) if name == SOAK else module.run(self.quick)
        except Exception as error:
            traceback.print_exc()
            self.failed[name] = f"{type(error).__name__}: {error}"[:200]
            print(f"{name}: FAILED, {self.failed[name]}\n", flush=True)
            return
        print(f"{name} ({time.monotonic() - began:.0f} s)\n\n{table(self.rows[name])}\n", flush=True)
        if self.record:
            self.keep(name, table(self.rows[name]))

    def contract(self) -> None:
        """Print the contract's table of what was run."""
        text = section(self.all(), self.rows.get(FLOORS, []), quick=self.quick, failed=self.failed)
        print(f"{CONTRACT}\n\n{text}\n", flush=True)
        if self.record:
            self.keep(CONTRACT, text)

    def keep(self, name: str, text: str) -> None:
        """Record a section, with the notes that were made on it before and the one on this run."""
        record(RESULTS, name, f"{self.machine}\n\n{text}", signed(self.note, self.machine))

    def all(self) -> list[Row]:
        """Return the rows of all modules."""
        return [row for rows in self.rows.values() for row in rows]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was named: 2 for an unknown name, 1 when a benchmark failed, or with --strict a bound is not met."""
    known = available()
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__)
    shown = ", ".join([CONTRACT, *known])
    parser.add_argument("names", nargs="*", metavar="NAME", help=NAMES.format(shown))
    parser.add_argument("--quick", action="store_true", help="shorter runs, rougher figures")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.relative_to(TOP)}")
    parser.add_argument("--note", default="", metavar="TEXT", help="with --record: one more note in each section")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a bound is not met")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long the soak runs (60)")
    arguments = parser.parse_args(argv)
    if arguments.names[:1] == [PROFILE]:
        if unknown := sorted(set(arguments.names[1:]) - PATHS.keys()):
            parser.error(f"no path named {', '.join(unknown)}; there are: {', '.join(PATHS)}")
        profile(arguments.names[1:], quick=arguments.quick)
        return 0
    if unknown := sorted(set(arguments.names) - {CONTRACT, *known}):
        parser.error(f"no benchmark named {', '.join(unknown)}; there are: {shown}")
    if arguments.note and not arguments.record:
        parser.error("--note is kept in what --record writes: give both")
    book = Book(arguments.quick, arguments.minutes, arguments.record, arguments.note)
    for name in chosen(arguments.names, known):
        book.run(name)
    if not arguments.names or CONTRACT in arguments.names:
        book.contract()
    return int(bool(book.failed) or (arguments.strict and bool(unmet(book.all()))))


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the modules to run, each once: `contract` stands for what its table needs."""
    if not names:
        return [*MODULES, *(name for name in known if name not in MODULES and name not in LONG)]
    every = [each for name in names for each in (MODULES if name == CONTRACT else (name,))]
    return list(dict.fromkeys(every))


def _sections(path: Path) -> dict[str, str]:
    """Return the text of each `## ` section of the file by its title."""
    text = path.read_text() if path.exists() else ""
    chunks = ("\n" + text).split("\n## ")[1:]
    return {title.strip(): body.strip() for title, _, body in (chunk.partition("\n") for chunk in chunks)}


if __name__ == "__main__":
    sys.exit(main())
