"""`python -m tests.faults`: one run of the fault machine; exit code 0 when every book balances."""

import argparse
import shlex
import shutil
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.__main__ import RESULTS, record
from bench.machine import describe
from tests.faults.cast import Size
from tests.faults.fault import Fault
from tests.faults.injections import room_for, with_a_small_disk
from tests.faults.machine import Machine, Order, discard, new_home
from tests.faults.options import parser
from tests.faults.plan import Plan, plan
from tests.faults.plan_file import PlanUnreadable, parse, render
from tests.faults.report import summary
from tests.faults.table import faults, weight

PLAN: Final = "plan.txt"


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, run, and print the summary."""
    words = list(sys.argv[1:] if argv is None else argv)
    reader = parser(__doc__)
    given = reader.parse_args(words)
    known = faults(with_injections=not given.no_injections)
    try:
        chosen = _plan(given, known)
    except (OSError, PlanUnreadable) as error:
        reader.error(f"{given.plan}: {error}")
    wanted = {*(given.only or ()), *(strike.fault for strike in chosen.strikes)}
    if unknown := sorted(wanted - set(known)):
        reader.error(f"no fault named {', '.join(unknown)}; there are: {', '.join(known)}")
    if given.list:
        print(*(name for name in known if not given.only or name in given.only), sep="\n")
        return 0
    if given.save_plan:
        given.save_plan.write_text(render(chosen))
    if given.plan_only:
        print(*chosen.strikes, sep="\n")
        return 0
    return _play(chosen, known, f"scripts/faults {shlex.join(words)}", given)


def _plan(given: argparse.Namespace, known: Mapping[str, Fault]) -> Plan:
    """Return the plan of the file that is given, else the one of the seed; raises OSError, PlanUnreadable."""
    if given.plan:
        return parse(given.plan.read_text("utf-8"))
    seconds = given.minutes * 60
    weights = {name: weight(fault) for name, fault in known.items() if not given.only or name in given.only}
    strikes = plan(given.seed, seconds, given.every, weights) if given.every > 0 else []
    return Plan(given.seed, seconds, tuple(strikes))


def _play(chosen: Plan, known: Mapping[str, Fault], command: str, given: argparse.Namespace) -> int:
    rate = None if given.messages is None else given.messages / chosen.seconds
    size = Size(given.peers, given.workers, given.senders, rate)
    order = Order(chosen.seed, chosen.seconds, size, new_home(), is_sabotaged=not given.no_injections)
    broken: list[bool] = []

    def work() -> None:
        broken.append(_run(order, chosen, known, command, given))

    if given.small_disk:
        with_a_small_disk(order.home, work, room_for(order.seconds))
        order.home.rmdir()
    else:
        work()
    return int(broken != [False])


def _run(order: Order, chosen: Plan, known: Mapping[str, Fault], command: str, given: argparse.Namespace) -> bool:
    """Run, print the summary, and tell whether anything is broken; then the root is kept, and the plan in it."""
    machine_line = describe()
    # A small disk goes with this thread.
    place = Path(f"{order.home}-kept") if order.home.is_mount() else order.home
    (order.home / PLAN).write_text(render(chosen))
    machine = Machine(order, list(chosen.strikes), known)
    for strike in chosen.strikes:
        machine.trace(f"plan: {strike}")
    _tell(f"seed {order.seed}, {len(chosen.strikes)} faults planned, root {order.home}")
    outcome = machine.run(_tell)
    text = summary(outcome, f"{command} --plan {place / PLAN}")
    print(text)
    if given.record:
        record(RESULTS, "faults", f"{machine_line}\n\n`{command}`\n\n```\n{text}\n```")
    is_kept = bool(outcome.broken or given.keep)
    if is_kept and place != order.home:
        shutil.copytree(order.home, place, symlinks=True, ignore=_special)
        print(f"the small disk's files: {place}")
    elif not is_kept:
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
