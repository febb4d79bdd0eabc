"""Installs the pinned atheris into a cache directory and runs the targets of the security tests with it."""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from environment import locked, run

LOCK = "scripts/fuzz-requirements.lock"
MAIN = "tests/security/fuzz_main.py"
LONGEST_BYTES = 20_000
MEMORY_MIB = 3_000
SLOWEST_SECONDS = 20
EXECUTED = re.compile(r"^stat::number_of_executed_units: *(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One target's run; `executions` None where the fuzzer did not say, `finding` empty where there was none."""

    target: str
    executions: int | None
    seconds: float
    finding: str

    def cells(self) -> tuple[str, ...]:
        """The run as text, in the order of the columns of `summary`."""
        count = "unknown" if self.executions is None else f"{self.executions:,}"
        return (self.target, count, f"{self.seconds:.0f}", self.finding or "none")


def summary(runs: list[Run]) -> str:
    """The runs as a table."""
    from bench.rows import markdown

    return markdown(("target", "executions", "seconds", "finding"), [run.cells() for run in runs])


def install(top: Path, cache: Path) -> Path:
    """Bring atheris to the pinned version, once for any number of processes; returns its directory.

    Raises CalledProcessError where there is none for this Python.
    """
    pin = hashlib.sha256(sys.version.encode() + (top / LOCK).read_bytes()).hexdigest()[:16]
    place = cache / f"atheris-{pin}"
    with locked(cache / "lock"):
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
            run(sys.executable, "-m", "pip", "install", *options, "--target", place, "-r", top / LOCK)
            (place / "complete").touch()
    return place


def targets(top: Path) -> list[str]:
    """The names of all targets."""
    code = "from tests.security.fuzz_targets import TARGETS; print(*TARGETS)"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=top, env=environment(top), check=True, capture_output=True, text=True
    ).stdout.split()


def environment(top: Path, *more: Path) -> dict[str, str]:
    """The environment of a run: the clone and `more` are where modules are looked for."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (top, *more)))}


def fuzz(top: Path, atheris: Path, cache: Path, name: str, seconds: int) -> Run:
    """Fuzz one target; an input that breaks a promise is kept in `findings`."""
    findings = cache / "findings" / name
    findings.mkdir(parents=True, exist_ok=True)
    limits = (f"-max_total_time={seconds}", f"-timeout={SLOWEST_SECONDS}", f"-max_len={LONGEST_BYTES}")
    places = (f"-artifact_prefix={findings}/", f"-rss_limit_mb={MEMORY_MIB}", "-print_final_stats=1")
    argv = (sys.executable, top / MAIN, name, cache / "corpus" / name, *limits, *places)
    began = time.monotonic()
    # libFuzzer ends its process at once, and what the target wrote stays.
    with (findings / "log").open("wb") as log, tempfile.TemporaryDirectory(prefix="pwfuzz-") as room:
        env = environment(top, atheris) | {"TMPDIR": room}
        done = subprocess.run(argv, cwd=top, env=env, stdout=log, stderr=log)
    run = run_of(name, (findings / "log").read_text("utf-8", "replace"), done.returncode, time.monotonic() - began)
    shown = f"FOUND, {run.finding}; see {findings}" if run.finding else "no finding"
    print(f"{name}: {run.cells()[1]} runs, {shown}", flush=True)
    return run


def run_of(name: str, log: str, status: int, seconds: float) -> Run:
    """What a run's log and exit status say; one that ended well without a word of how much it did has found nothing."""
    counts = EXECUTED.findall(log)
    return Run(name, int(counts[-1]) if counts else None, seconds, f"exit status {status}" if status else "")


def main() -> int:
    """0 when no target found anything, 1 when one did or atheris cannot be had."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("top", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("target", nargs="*", help="by default all of them, one after the other")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each target (60)")
    parser.add_argument("--record", action="store_true", help="write the table into bench/RESULTS.md")
    chosen = parser.parse_args()
    known = targets(chosen.top)
    unknown = set(chosen.target) - set(known)
    if unknown:
        parser.error(f"no target {sorted(unknown)[0]!r}; there are {', '.join(known)}")
    try:
        atheris = install(chosen.top, chosen.cache)
    except subprocess.CalledProcessError:
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        print(f"peerwake: there is no atheris for Python {version} on this system (see above)", file=sys.stderr)
        return 1
    runs = [fuzz(chosen.top, atheris, chosen.cache, name, chosen.seconds) for name in chosen.target or known]
    if chosen.record:
        from bench.__main__ import RESULTS, record
        from bench.machine import describe

        pinned = (chosen.top / LOCK).read_text().split()[0]
        record(RESULTS, "fuzz", f"{describe()}, {pinned}\n\n{summary(runs)}")
    return int(any(run.finding for run in runs))


if __name__ == "__main__":
    sys.exit(main())
