"""`python -m tests.faults`: one run of the fault machine; exit code 0 when every book balances."""

import argparse
import shlex
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.__main__ import RESULTS, record
from bench.machine import describe
from tests.faults.cast import Size
from tests.faults.fault import Fault
from tests.faults.injections import with_a_small_disk
from tests.faults.machine import Machine, Order, discard, new_home
from tests.faults.plan import Strike, plan
from tests.faults.report import summary
from tests.faults.table import faults, weight

SEEDS = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, run, and print the summary."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="repeats the plan, the bodies and the senders' choices")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long messages are sent and faults strike")
    parser.add_argument("--messages", type=int, help="about so many messages; without it as many as are taken")
    parser.add_argument("--peers", type=int, default=8, help="warm recipients")
    parser.add_argument("--workers", type=int, default=2, help="ephemeral recipients")
    parser.add_argument("--senders", type=int, default=2, help="senders on each transport")
    parser.add_argument("--every", type=float, default=2.5, help="seconds between two faults, on average; 0: none")
    parser.add_argument("--only", action="append", metavar="FAULT", help="only these faults (more than once)")
    parser.add_argument("--no-injections", action="store_true", help="only faults of processes and files")
    parser.add_argument("--small-disk", action="store_true", help="on a disk of its own, which can be full (root only)")
    parser.add_argument("--plan-only", action="store_true", help="print what would strike when")
    parser.add_argument("--list", action="store_true", help="print the names of the faults")
    parser.add_argument("--record", action="store_true", help="write the summary into bench/RESULTS.md")
    parser.add_argument("--keep", action="store_true", help="keep the root also when all is well")
    given = parser.parse_args(words)
    known = faults(with_injections=not given.no_injections)
    if unknown := sorted(set(given.only or ()) - set(known)):
        parser.error(f"no fault named {', '.join(unknown)}; there are: {', '.join(known)}")
    chosen = {name: fault for name, fault in known.items() if not given.only or name in given.only}
    if given.list:
        print(*chosen, sep="\n")
        return 0
    seconds = given.minutes * 60
    weights = {name: weight(fault) for name, fault in chosen.items()}
    strikes = plan(given.seed, seconds, given.every, weights) if given.every > 0 else []
    if given.plan_only:
        print(*strikes, sep="\n")
        return 0
    rate = None if given.messages is None else given.messages / seconds
    size = Size(given.peers, given.workers, given.senders, rate)
    command = f"scripts/faults {shlex.join(words)}"
    order = Order(given.seed, seconds, size, new_home(), is_sabotaged=not given.no_injections)
    broken: list[bool] = []

    def work() -> None:
        broken.append(_run(order, strikes, chosen, command, given))

    if given.small_disk:
        with_a_small_disk(order.home, work)
        order.home.rmdir()
    else:
        work()
    return int(broken != [False])


def _run(
    order: Order, strikes: list[Strike], chosen: dict[str, Fault], command: str, given: argparse.Namespace
) -> bool:
    """Run, print the summary, and tell whether anything is broken; then the root is kept."""
    machine_line = describe()
    machine = Machine(order, strikes, chosen)
    for strike in strikes:
        machine.trace(f"plan: {strike}")
    _tell(f"seed {order.seed}, {len(strikes)} faults planned, root {order.home}")
    outcome = machine.run(_tell)
    text = summary(outcome, command)
    print(text)
    if given.record:
        record(RESULTS, "faults", f"{machine_line}\n\n`{command}`\n\n```\n{text}\n```")
    if order.home.is_mount() and (outcome.broken or given.keep):
        # Its disk goes with this thread.
        kept = shutil.copytree(order.home, f"{order.home}-kept", symlinks=True, ignore=_special)
        print(f"the small disk's files: {kept}")
    elif not outcome.broken and not given.keep:
        discard(outcome)
    return bool(outcome.broken)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _special(directory: str, names: list[str]) -> list[str]:
    """Return what cannot be copied: sockets and pipes."""
    modes = {name: Path(directory, name).lstat().st_mode for name in names}
    return [name for name, mode in modes.items() if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)]


if __name__ == "__main__":
    sys.exit(main())
