"""`python -m tests.mutants [NAME …]`: break the product line by line, and see that its tests notice."""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from bench.__main__ import RESULTS, record
from bench.machine import describe
from tests.mutants.ground import Ground, Outcome, ground
from tests.mutants.mutant import DoesNotApply, Mutant, load, table

TESTS_FAILED: Final = 1
BASELINE_SECONDS: Final = 1200.0
SHOWN_LINES: Final = 40


class Fate(StrEnum):
    """What became of a mutant; only `killed` is well."""

    KILLED = "killed"
    SURVIVED = "SURVIVED"
    UNSEEN = "SURVIVED A KILLER"
    NOT_APPLIED = "DOES NOT APPLY"
    NOT_RUN = "NOT RUN"
    HUNG = "HUNG"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of one mutant, what there is to say about it, and how long it took in seconds."""

    mutant: Mutant
    fate: Fate
    note: str
    seconds: float
    output: str = ""
    failed: tuple[str, ...] = ()


def judge(mutant: Mutant, outcome: Outcome) -> tuple[Fate, str]:
    """Return the fate of a mutant whose killers ended so: each of them has to fail, in its own words."""
    if outcome.status is None:
        return Fate.HUNG, "its tests had to be stopped"
    spared = [test for test in mutant.killers if not outcome.has_failed(test)]
    if outcome.status not in (0, TESTS_FAILED):
        return Fate.NOT_RUN, f"pytest ended with status {outcome.status}"
    if not spared:
        return Fate.KILLED, mutant.killers[0]
    is_whole = len(spared) == len(mutant.killers)
    if all(outcome.was_skipped(test) for test in spared):
        return Fate.NOT_RUN if is_whole else Fate.KILLED, f"skipped here: {', '.join(spared)}"
    return Fate.SURVIVED if is_whole else Fate.UNSEEN, f"did not fail: {', '.join(spared)}"


def attempt(mutant: Mutant, place: Ground, seconds: float) -> Verdict:
    """Put one mutant in and run its killers."""
    started = time.monotonic()
    try:
        with place.broken(mutant):
            outcome = place.test(mutant.killers, seconds)
    except DoesNotApply as error:
        return Verdict(mutant, Fate.NOT_APPLIED, str(error), 0.0)
    except SyntaxError as error:
        return Verdict(mutant, Fate.NOT_APPLIED, f"it is no Python any more: {error}", 0.0)
    fate, note = judge(mutant, outcome)
    failed = tuple(test for test in mutant.killers if outcome.has_failed(test))
    return Verdict(mutant, fate, note, time.monotonic() - started, outcome.output, failed)


def baseline(mutants: Sequence[Mutant], place: Ground, jobs: int) -> Outcome:
    """Run all killers on the unbroken copy, where they have to pass."""
    return place.test(sorted({test for mutant in mutants for test in mutant.killers}), BASELINE_SECONDS, workers=jobs)


def chosen(names: Sequence[str]) -> list[Mutant]:
    """Return the mutants of these names or books, all without a name; raises SystemExit for an unknown one."""
    known = load()
    wanted = [mutant for mutant in known if not names or mutant.name in names or mutant.book in names]
    unknown = sorted(set(names) - {word for mutant in known for word in (mutant.name, mutant.book)})
    if unknown:
        sys.exit(f"no mutant or book named {', '.join(unknown)}; scripts/mutants --list names them")
    return wanted


def run(mutants: Sequence[Mutant], jobs: int, seconds: float, keep: Path | None) -> list[Verdict]:
    """Judge the mutants, `jobs` at a time, each copy by itself; none where the product itself does not pass."""
    places: SimpleQueue[Ground] = SimpleQueue()
    with ground() as first, ground() as second:
        for place in (first, second)[:jobs]:
            places.put(place)
        passed = baseline(mutants, first, jobs)
        if passed.status != 0:
            print(*passed.output.splitlines()[-SHOWN_LINES:], sep="\n")
            print("the killers do not pass on the product as it is: nothing was broken")
            return []

        def one(mutant: Mutant) -> Verdict:
            place = places.get()
            try:
                return attempt(mutant, place, seconds)
            finally:
                places.put(place)

        with ThreadPoolExecutor(jobs) as pool:
            verdicts = []
            for verdict in pool.map(one, mutants):
                verdicts.append(verdict)
                print(
                    f"{verdict.fate:<18} {verdict.mutant.name:<42} {verdict.seconds:5.1f} s  {verdict.note}", flush=True
                )
                if keep is not None and verdict.fate is not Fate.KILLED:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{verdict.mutant.name}.txt").write_text(verdict.output, "utf-8")
    return verdicts


def summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many mutants were killed by how many tests, and what became of the others."""
    well = [verdict for verdict in verdicts if verdict.fate is Fate.KILLED]
    times = Counter(test for verdict in well for test in verdict.failed)
    others = [f"- {each.fate}: `{each.mutant.name}` ({each.note})" for each in verdicts if each not in well]
    counted = f"{len(well)} of {len(verdicts)} mutants killed, by {len(times)} tests that failed {times.total()} times"
    return "\n".join([counted, *others])


def main(argv: Sequence[str] | None = None) -> int:
    """0 when each mutant was killed by each of its tests, 1 when not, 2 for bad usage."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a mutant or a book of them (default: all)")
    parser.add_argument("--list", action="store_true", help="only name them")
    parser.add_argument("--table", action="store_true", help="only print the table of docs/testing.md")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=min(2, os.cpu_count() or 1), help="at once")
    parser.add_argument("--seconds", type=float, default=180.0, help="how long the tests of one may take")
    parser.add_argument("--record", action="store_true", help="write the summary into bench/RESULTS.md")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="where the output of survivors goes")
    given = parser.parse_args(argv)
    mutants = chosen(given.names)
    if given.table:
        print(table(mutants))
        return 0
    if given.list:
        for mutant in mutants:
            print(f"{mutant.book:<11} {mutant.name:<42} {mutant.file}")
        return 0
    verdicts = run(mutants, given.jobs, given.seconds, given.keep)
    print(f"\n{summary(verdicts)}")
    if given.record and verdicts:
        record(RESULTS, "mutants", f"{describe()}\n\n{summary(verdicts)}")
    return int(not verdicts or any(verdict.fate is not Fate.KILLED for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
