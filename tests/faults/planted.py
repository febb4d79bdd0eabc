"""`python -m tests.faults.planted [NAME …]`: break the product on purpose and see which books of the machine tell.

A mutant of `tests/mutants` is put into a copy of the clone, and the machine runs there, once for each seed until a
book breaks. What is printed are the rules that broke, as the machine's own summary counts them. A run that does not
end, or ends without books, has seen nothing.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from typing import Final

from tests.mutants.__main__ import chosen
from tests.mutants.ground import Ground, ground
from tests.mutants.mutant import Mutant

SEEDS: Final = (1, 2, 3)
BROKEN: Final = re.compile(r"^BROKEN: (.*)$", re.MULTILINE)
KEPT: Final = re.compile(r"^the root is kept: (/tmp/\S+)$", re.MULTILINE)
WHOLE: Final = "every book balances"
LIMIT_SECONDS: Final = 600.0


def found(mutant: Mutant, place: Ground, minutes: float) -> tuple[bool, str]:
    """Tell whether a book broke, and the rules that did or why none could; raises DoesNotApply."""
    without = []
    with place.broken(mutant):
        for seed in SEEDS:
            words = ("--seed", str(seed), "--minutes", str(minutes), "--every", "1")
            _, said = place.run([sys.executable, "-m", "tests.faults", *words], LIMIT_SECONDS)
            if kept := KEPT.search(said):
                shutil.rmtree(kept[1], ignore_errors=True)
            if rules := BROKEN.search(said):
                return True, f"{rules[1]} (seed {seed})"
            if WHOLE not in said:
                without.append(f"; no books with seed {seed}: {said.splitlines()[-1:]}")
    return False, f"not found{''.join(without)}"


def main(argv: Sequence[str] | None = None) -> int:
    """0 when each mutant broke a book, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.planted", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="a mutant or a book of them")
    parser.add_argument("--minutes", type=float, default=0.5, help="how long one run sends")
    given = parser.parse_args(argv)
    unseen = 0
    with ground() as place:
        for mutant in chosen(given.names):
            is_seen, rules = found(mutant, place, given.minutes)
            unseen += not is_seen
            print(f"| {mutant.name} | {rules} |", flush=True)
    return int(unseen > 0)


if __name__ == "__main__":
    sys.exit(main())
