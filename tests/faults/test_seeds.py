"""Short runs of the fault machine: some seeds, and every one that ever found something."""

import os
import subprocess
import sys

import pytest

from tests.live.world import TOP

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the fault machine finds processes in /proc"),
]

SECONDS = 20
DEADLINE_SECONDS = 420
SEEDS = (1, 2, 3, 22, 43)
SMALL_DISK = pytest.param(
    2005, "--small-disk", marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk of its own")
)


@pytest.mark.parametrize(("seed", "more"), [*((seed, "") for seed in SEEDS), SMALL_DISK])
def test_the_books_balance(seed: int, more: str) -> None:
    words = ["--seed", str(seed), "--minutes", f"{SECONDS / 60:.3f}", "--every", "1.5", *more.split()]
    argv = [sys.executable, "-m", "tests.faults", *words]
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    assert "every book balances" in done.stdout
