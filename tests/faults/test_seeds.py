"""Short runs of the fault machine: plans that once found something, and others that have every other kind of fault."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.world import TOP

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fault machine finds processes in /proc"),
]

DEADLINE_SECONDS = 420
PLANS = Path(__file__).parent / "plans"
ORDINARY = ("every-kind-1", "every-kind-2", "seed-22", "seed-43", "workers")
SMALL_DISK = ("disk-full", "seed-2005")
MUST_STRIKE = {"disk-full": {"disk full": 3}}
AT_LEAST = {"accepted": 100, "consumed": 50, "workers took": 2}
"""What a run has to have judged, on the slowest of machines: books of nothing balance."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk of its own")


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, ()) for name in ORDINARY),
        *(pytest.param(name, ("--small-disk",), marks=needs_root) for name in SMALL_DISK),
    ],
)
def test_the_books_balance(name: str, more: tuple[str, ...]) -> None:
    plan = PLANS / f"{name}.txt"
    argv = [sys.executable, "-m", "tests.faults", "--plan", str(plan), *more]
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    said = f"{done.stdout}\n{done.stderr[-3000:]}"
    assert done.returncode == 0, said
    assert "every book balances" in done.stdout
    for what, least in AT_LEAST.items():
        found = re.search(rf"\b{what} (\d+)", done.stdout)
        assert found is not None and int(found[1]) >= least, said
    planned = sum(not line.startswith(("#", "seed", "seconds")) for line in plan.read_text().splitlines())
    total = re.search(r"^faults (\d+):", done.stdout, re.MULTILINE)
    assert total is not None and 2 * int(total[1]) >= planned > 0, said
    for fault, count in MUST_STRIKE.get(name, {}).items():
        struck = re.search(rf"^ +(\d+)  {fault}", done.stdout, re.MULTILINE)
        assert struck is not None and int(struck[1]) >= count, said
