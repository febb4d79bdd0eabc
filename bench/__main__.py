"""`python -m bench [NAME …] [--quick] [--record]`: run benchmarks, print or record their figures."""

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import bench
from bench.machine import TOP, describe
from bench.rows import Row, table

RESULTS: Final = TOP / "bench" / "RESULTS.md"
TITLE: Final = """# Results

Written by `scripts/bench --record`. Each section is one run of one module of `bench/`; a ratio compares
with something measured in the same run.
"""


def available() -> list[str]:
    """Return the names of the modules of `bench/` that define a `run`."""
    names = (f"bench.{module.name}" for module in pkgutil.iter_modules(bench.__path__) if module.name != "__main__")
    found = ((name, getattr(importlib.import_module(name), "run", None)) for name in names)
    return sorted(name.removeprefix("bench.") for name, run in found if run is not None and run.__module__ == name)


def record(path: Path, name: str, section: str) -> None:
    """Replace the section of `name` in the results, or add it."""
    sections = _sections(path)
    sections[name] = section.strip()
    parts = [TITLE.strip(), *(f"## {key}\n\n{sections[key]}" for key in sorted(sections))]
    path.write_text("\n\n".join(parts) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was named, everything by default; exit code 2 for an unknown name."""
    known = available()
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="shorter runs, rougher figures")
    parser.add_argument("--record", action="store_true", help=f"write {RESULTS.relative_to(TOP)}")
    arguments = parser.parse_args(argv)
    if unknown := sorted(set(arguments.names) - set(known)):
        parser.error(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}")
    machine = describe()
    for name in arguments.names or known:
        rows: list[Row] = importlib.import_module(f"bench.{name}").run(arguments.quick)
        print(f"{name}\n\n{table(rows)}\n", flush=True)
        if arguments.record:
            record(RESULTS, name, f"{machine}\n\n{table(rows)}")
    return 0


def _sections(path: Path) -> dict[str, str]:
    """Return the text of each `## ` section of the file by its title."""
    text = path.read_text() if path.exists() else ""
    chunks = ("\n" + text).split("\n## ")[1:]
    return {title.strip(): body.strip() for title, _, body in (chunk.partition("\n") for chunk in chunks)}


if __name__ == "__main__":
    sys.exit(main())
