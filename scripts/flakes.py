"""The live tests many times in a row on a loaded machine: what failed, how often, on what.

Each run is one line of JSON in a file; the next call goes on counting there for the same commit.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

TOP: Final = Path(__file__).resolve().parent.parent
RUNS: Final = TOP / ".cache" / "flakes.jsonl"
TESTED: Final = ("transport", "lifecycle", "mcp_server", "tests", "pyproject.toml", "requirements-dev.lock")
LIVE: Final = "live and not clients"
WHOLE: Final = ("tests/live", "tests/contract/test_invariants.py")
GRACE_SECONDS: Final = 60.0
NAMED: Final = 30
NOT_ENDED: Final = "(the run did not end in its time)"
NOT_REPORTED: Final = "(pytest ended without a report)"
BUSY: Final = """
import os, sys, time
parent, end = os.getppid(), time.monotonic() + float(sys.argv[1])
while os.getppid() == parent and time.monotonic() < end:
    sum(range(100_000))
"""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a run has to have in common with another one to be counted together; `arguments` go to pytest."""

    commit: str
    load: int
    workers: int
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the tests: `failed` are names of tests, `average` is the machine's load at its end."""

    commit: str
    load: int
    workers: int
    arguments: tuple[str, ...]
    number: int
    seconds: float
    average: float
    tests: int
    skipped: int
    failed: tuple[str, ...]

    @property
    def conditions(self) -> Conditions:
        return Conditions(self.commit, self.load, self.workers, self.arguments)


def commit() -> str:
    """Return the short name of the last commit that changed what is tested, with a mark for changes since then."""

    def said(*words: str) -> str:
        try:
            return subprocess.run(["git", "-C", TOP, *words], capture_output=True, text=True, check=False).stdout
        except OSError:
            return ""

    changed = said("status", "--porcelain", "--untracked-files=no", "--", *TESTED).strip()
    return (said("log", "-1", "--format=%h", "--", *TESTED).strip() or "unknown") + (" with changes" if changed else "")


def counted(path: Path, conditions: Conditions) -> list[Run]:
    """Return the runs in a file that were made under these conditions; a line that was cut off counts for none."""
    found: list[Run] = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        with suppress(ValueError, TypeError, KeyError):
            data = json.loads(line)
            run = Run(**{**data, "arguments": tuple(data["arguments"]), "failed": tuple(data["failed"])})
            if run.conditions == conditions:
                found.append(run)
    return found


def report(path: Path) -> tuple[int, int, tuple[str, ...]]:
    """Return how many tests a JUnit report has, how many were skipped, and the names of those that failed."""
    cases = list(xml.parse(path).getroot().iter("testcase"))
    failed = {
        f"{case.get('classname', '')}::{case.get('name', '')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }
    return len(cases), sum(case.find("skipped") is not None for case in cases), tuple(sorted(failed))


@contextmanager
def loaded(processes: int, seconds: float) -> Iterator[None]:
    """Keep the machine busy for at most `seconds`; the processes end with this one in any case."""
    argv = [sys.executable, "-I", "-S", "-c", BUSY, str(seconds)]
    started = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def run_once(conditions: Conditions, number: int, seconds: float, output: Path) -> Run:
    """Run the tests once, with what they print in `output`; raises KeyboardInterrupt after having stopped them."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pw-flakes-") as place, loaded(conditions.load, seconds + GRACE_SECONDS):
        results = Path(place) / "results.xml"
        argv = [sys.executable, "-m", "pytest", "-m", LIVE, "-q", "-p", "no:cacheprovider", f"--junitxml={results}"]
        argv += ["-n", str(conditions.workers), "--dist", "worksteal", *conditions.arguments]
        with output.open("wb") as file:
            child = subprocess.Popen(argv, cwd=TOP, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
            has_ended = _await(child, seconds)
        average = os.getloadavg()[0]
        tests, skipped, failed = report(results) if results.exists() else (0, 0, ())
    if not has_ended:
        failed = (*failed, NOT_ENDED)
    elif child.returncode and not failed:
        failed = (NOT_REPORTED,)
    spent = round(time.monotonic() - started, 1)
    return Run(
        **asdict(conditions), number=number, seconds=spent, average=average, tests=tests, skipped=skipped, failed=failed
    )


def _await(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Tell whether a child ended in its time; one that did not is interrupted, so that its tests clean up."""
    try:
        child.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        _interrupt(child)
        return False
    except BaseException:
        _interrupt(child)
        raise


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGINT)
    try:
        child.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()


def summary(runs: Sequence[Run]) -> str:
    """Return what is known of these runs as a Markdown table, and the tests that failed."""
    if not runs:
        return "no run"
    first, failing = runs[0], [run for run in runs if run.failed]
    times = sorted(run.seconds for run in runs)
    tests = sorted({run.tests - run.skipped for run in runs})
    rows = [
        ("runs in a row", f"{len(runs)}"),
        ("tests in each", " to ".join(map(str, dict.fromkeys((tests[0], tests[-1]))))),
        ("skipped in each", f"{max(run.skipped for run in runs)}"),
        ("tests run in all", f"{sum(run.tests - run.skipped for run in runs):,}"),
        ("runs with a failure", f"{len(failing)}"),
        ("failures", f"{sum(len(run.failed) for run in runs)}"),
        ("processes that only keep the machine busy", f"{first.load}"),
        ("test workers", f"{first.workers}"),
        ("load average at the end, lowest and highest", _range(sorted(run.average for run in runs))),
        ("seconds, fastest, median, slowest", f"{times[0]:.0f}, {median(times):.0f}, {times[-1]:.0f}"),
        ("arguments", " ".join(first.arguments) or "none"),
        ("commit", first.commit),
    ]
    width = max(len(name) for name, _ in rows)
    table = [f"| {'what':<{width}} | value |", f"|{'-' * (width + 2)}|-------|"]
    table += [f"| {name:<{width}} | {value} |" for name, value in rows]
    times_failed = Counter(name for run in runs for name in run.failed)
    named = [f"- {count} × `{name}`" for name, count in sorted(times_failed.items(), key=lambda item: (-item[1], item))]
    if len(named) > NAMED:
        named[NAMED:] = [f"- and {len(named) - NAMED} others"]
    return "\n".join([*table, "", *(named or ["No test failed."])])


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:.1f}, {values[-1]:.1f}"


def keep(path: Path, run: Run) -> None:
    """Add a run to the file in one write."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def repeat(path: Path, conditions: Conditions, times: int, seconds: float) -> list[Run]:
    """Run the tests until there are `times` runs under these conditions; what a failing run printed is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.with_suffix(".failures")
    runs = counted(path, conditions)
    if runs:
        print(f"{len(runs)} runs of {conditions.commit} are in {path} already", flush=True)
    for number in range(len(runs) + 1, times + 1):
        with tempfile.NamedTemporaryFile(prefix="pw-flakes-", suffix=".txt") as printed:
            run = run_once(conditions, number, seconds, Path(printed.name))
            if run.failed:
                kept.mkdir(exist_ok=True)
                shutil.copyfile(printed.name, kept / f"{run.commit.replace(' ', '-')}-{number:03}.txt")
        keep(path, run)
        runs.append(run)
        said = f"{len(run.failed)} FAILED: {', '.join(run.failed[:3])}" if run.failed else "passed"
        print(f"{number:>3}/{times}  {run.tests - run.skipped} tests, {run.seconds:.0f} s, {said}", flush=True)
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    """0 when no run failed, 1 when one did, 130 after an interruption."""
    processors = os.cpu_count() or 1
    parser = argparse.ArgumentParser(prog="scripts/flakes", description=__doc__)
    parser.add_argument("--times", type=int, default=50, help="how many runs there are to be in all (50)")
    parser.add_argument("--load", type=int, default=processors, help=f"busy processes beside the tests ({processors})")
    parser.add_argument("--workers", type=int, default=min(processors + 1, 8), help="test workers (processors + 1)")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long one run may take (1800)")
    parser.add_argument("--into", type=Path, default=RUNS, metavar="FILE", help=f"the runs ({RUNS.relative_to(TOP)})")
    parser.add_argument("--record", action="store_true", help="write the table into bench/RESULTS.md")
    what = f"arguments of pytest, after -- (whole servers in real terminals: {' '.join(WHOLE)})"
    parser.add_argument("arguments", nargs="*", metavar="PYTEST", default=WHOLE, help=what)
    given = parser.parse_args(argv)
    conditions = Conditions(commit(), given.load, given.workers, tuple(given.arguments))
    try:
        runs = repeat(given.into.absolute(), conditions, given.times, given.seconds)
    except KeyboardInterrupt:
        print(f"\n{summary(counted(given.into, conditions))}\ninterrupted; the same command goes on counting")
        return 130
    print(f"\n{summary(runs)}")
    if given.record:
        from bench.__main__ import RESULTS, record
        from bench.machine import describe

        record(RESULTS, "flakiness", f"{describe()}\n\n{summary(runs)}")
    return int(any(run.failed for run in runs))


if __name__ == "__main__":
    # Started in the background of a script, SIGINT would be ignored here and in the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
