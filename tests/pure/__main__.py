"""`python -m tests.pure`: run the quick tests of what only computes, and fail unless they reach every branch."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import coverage
import pytest

from tests.pure.modules import COVERED, TESTS, TOP


class Sparing:
    """Counting is slow, and thousands of generated examples reach no line that a few do not."""

    def pytest_configure(self) -> None:
        # Imported before pytest has begun, hypothesis could not be rewritten by it.
        from hypothesis import settings

        settings.register_profile("coverage", max_examples=20, derandomize=True, deadline=None)
        settings.load_profile("coverage")


def main(argv: Sequence[str] | None = None) -> int:
    """0 when each pure module is covered whole, else 1; `argv` goes to pytest."""
    given = sys.argv[1:] if argv is None else argv
    files = [str(TOP / path) for path in COVERED]
    with tempfile.TemporaryDirectory(prefix="pw-coverage-") as place:
        counted = coverage.Coverage(
            data_file=str(Path(place) / "data"),
            branch=True,
            source=[],
            include=files,
            config_file=str(TOP / "pyproject.toml"),
        )
        with counted.collect():
            failed = pytest.main(["-q", "-p", "no:xdist", "-p", "no:cacheprovider", *given, *TESTS], [Sparing()])
        if failed:
            return 1
        covered = counted.report(morfs=files, show_missing=True, skip_covered=True)
    if covered < 100:
        print(f"the pure modules are covered to {covered:.2f} %, not to 100: see Missing, a->b is a branch not taken")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
