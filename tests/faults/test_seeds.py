"""Short runs of the fault machine: some seeds, and every one that ever found something."""

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


@pytest.mark.parametrize("seed", SEEDS)
def test_the_books_balance(seed: int) -> None:
    words = ["--seed", str(seed), "--minutes", f"{SECONDS / 60:.3f}", "--every", "1.5"]
    argv = [sys.executable, "-m", "tests.faults", *words]
    done = subprocess.run(argv, cwd=TOP, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    assert "every book balances" in done.stdout
