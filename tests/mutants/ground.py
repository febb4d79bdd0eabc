"""A copy of the clone to break, and pytest in it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.mutant import TOP, Mutant

PARTS: Final = ("mcp_server", "lifecycle", "transport", "bench", "scripts", "tests", "docs", "claude_config_examples")
IGNORED: Final = shutil.ignore_patterns("__pycache__", ".*cache", "*.pyc")
FAILED: Final = re.compile(r"^FAILED (\S+)", re.MULTILINE)
"""A test that could not begin, or whose tidying up failed, is an ERROR, which kills nothing."""
PASSED: Final = re.compile(r"^PASSED (\S+)", re.MULTILINE)
SKIPPED: Final = re.compile(r"^SKIPPED ", re.MULTILINE)
GRACE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What pytest said: `status` is its exit code, None when it had to be stopped; `failed`, `passed` are test ids."""

    status: int | None
    failed: frozenset[str]
    passed: frozenset[str]
    is_skipped: bool
    output: str

    def has_failed(self, test: str) -> bool:
        """Tell whether this test failed, with whatever parameters."""
        return _among(test, self.failed)

    def was_skipped(self, test: str) -> bool:
        """Tell whether this test neither failed nor passed where something was skipped."""
        return self.is_skipped and not _among(test, self.failed | self.passed)


def _among(test: str, ids: Iterable[str]) -> bool:
    return any(each == test or each.startswith(f"{test}[") for each in ids)


@dataclass(frozen=True, slots=True)
class Ground:
    """One copy of the clone, of which one file at a time is broken."""

    top: Path

    @contextmanager
    def broken(self, mutant: Mutant) -> Iterator[None]:
        """Put a mutant in and take it out again; raises DoesNotApply, SyntaxError."""
        path = self.top / mutant.file
        source = path.read_text("utf-8")
        changed = mutant.applied(source)
        compile(changed, mutant.file, "exec")
        path.write_text(changed, "utf-8")
        try:
            yield
        finally:
            path.write_text(source, "utf-8")

    def test(self, tests: Sequence[str], seconds: float, *, workers: int = 0) -> Outcome:
        """Run tests in the copy for at most `seconds`, then stop them as Ctrl-C would."""
        parallel = ["-n", str(workers), "--dist", "loadfile"] if workers else ["-p", "no:xdist"]
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rfEsp",
            "--tb=short",
            *parallel,
            "-p",
            "no:cacheprovider",
            *tests,
        ]
        status, output = self.run(argv, seconds)
        failed, passed = (frozenset(each.findall(output)) for each in (FAILED, PASSED))
        return Outcome(status, failed, passed, SKIPPED.search(output) is not None, output)

    def run(self, argv: Sequence[str], seconds: float) -> tuple[int | None, str]:
        """Run a command in the copy for at most `seconds`, then stop it as Ctrl-C would.

        Returns its status, None when it had to be stopped, and what it printed.
        """
        child = subprocess.Popen(
            argv,
            cwd=self.top,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return _finish(child, seconds)

    def _environment(self) -> dict[str, str]:
        # What is started must find the copy before whatever is installed.
        return {
            **os.environ,
            "PYTHONPATH": str(self.top),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(self.top / ".hypothesis"),
            "COLUMNS": "300",
        }


def _finish(child: subprocess.Popen[bytes], seconds: float) -> tuple[int | None, str]:
    try:
        output, _ = child.communicate(timeout=seconds)
        return child.returncode, output.decode("utf-8", "replace")
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
    except BaseException:
        _end(child)
        raise
    with suppress(subprocess.TimeoutExpired):
        output, _ = child.communicate(timeout=GRACE_SECONDS)
        return None, output.decode("utf-8", "replace")
    _end(child)
    return None, ""


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


@contextmanager
def ground() -> Iterator[Ground]:
    """Copy the clone to a temporary directory, which is removed afterwards."""
    place = Path(tempfile.mkdtemp(prefix="pw-mutants-", dir="/tmp"))
    try:
        for part in PARTS:
            shutil.copytree(TOP / part, place / part, ignore=IGNORED, symlinks=True)
        for path in TOP.iterdir():
            if path.is_file() and path.name != ".git":
                shutil.copy2(path, place / path.name)
        yield Ground(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
