"""The command line beside a running server: wall time of one command, commands one after the other."""

import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from bench.ground import bare_python, ground, median_ms, seconds_of, spread
from bench.machine import TOP
from bench.rows import Row, answer, not_run
from bench.terms import TERMS
from mcp_server.cli.exits import Exit
from tests.live.world import World

FLOOR: Final = "python -I -S -c pass"
PEERS: Final = 10
QUEUE: Final = ("send", "sleeper", "hello", "--wait", "0")
COMMANDS: Final[dict[str, Sequence[str]]] = {
    "peerwake send --wait 0": QUEUE,
    "peerwake send (delivered)": ("send", "alice", "hello"),
    "peerwake list": ("list",),
    "peerwake list --json": ("list", "--json"),
    "peerwake queue": ("queue",),
    "peerwake --help": ("--help",),
    "peerwake send --help": ("send", "--help"),
}
FOUND: Final[dict[str, Sequence[int]]] = {"doctor": (0, 1, 2), "verify": (0, 1)}
"""How commands end that looked at everything, whatever they found."""
PS: Final = "peerwake ps --json"
ANSWERS: Final = {"peerwake send (delivered)": "cli.send", "peerwake list": "cli.list", PS: "cli.ps"}
if find_spec("mcp_server.cli.commands.ps"):
    COMMANDS[PS] = ("ps", "--json")


def run(quick: bool) -> list[Row]:
    """Commands and bare interpreters take turns."""
    count, seconds = (5, 1.0) if quick else (30, 5.0)
    with ground() as world:
        _prepare(world)
        isolated: list[float] = []
        plain: list[float] = []
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(count):
            isolated.append(seconds_of(lambda: bare_python("-I", "-S")))
            plain.append(seconds_of(bare_python))
            for name, words in COMMANDS.items():
                times[name].append(seconds_of(lambda words=words: command(world, *words)))  # type: ignore[misc]
        rate = one_after_the_other(world, seconds)
    floor = median_ms(isolated)
    rows = [Row(FLOOR, floor, "ms", note=spread(isolated)), Row("python -c pass", median_ms(plain), "ms")]
    rows += [_row(name, median_ms(found), floor, spread(found)) for name, found in times.items()]
    if PS not in times:
        rows.append(not_run(ANSWERS[PS], "there is no such command yet"))
    share = rate * floor / 1e3
    return [*rows, answer("cli.rate", rate, ratio=share, of=FLOOR, note="send --wait 0, one after the other")]


def _row(name: str, value: float, floor: float, note: str) -> Row:
    if key := ANSWERS.get(name):
        return answer(key, value, name=name, ratio=value / floor, of=FLOOR, note=note)
    return Row(name, value, "ms", TERMS["cli.send"].bound, value / floor, FLOOR, note)


def _prepare(world: World) -> None:
    """Make some peers: one that is awake, the others asleep, of which one may not be woken by what it gets."""
    for number in range(PEERS - 2):
        world.create(f"peer{number}")
    world.create("alice")
    world.create("sleeper", "--ephemeral", rules=[{"sleep_forever": True}])
    world.serve()
    assert world.send("alice", "good morning")["status"] == "delivered"


def command(world: World, *words: str) -> None:
    """Run one command as the installed script does; raises AssertionError when it did not do what is measured."""
    argv = [sys.executable, "-m", "mcp_server", *words]
    done = subprocess.run(argv, env=world.env, cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    wanted = (Exit.QUEUED,) if words == QUEUE else FOUND.get(words[0], (Exit.OK,))
    assert done.returncode in wanted, f"peerwake {' '.join(words)} ended with {done.returncode}: {done.stderr.decode()}"


def one_after_the_other(world: World, seconds: float) -> float:
    """Return how many sends a second one shell gets accepted."""
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        command(world, *QUEUE)
        count += 1
    return count / (time.perf_counter() - began)
