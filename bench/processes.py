"""How many processes are started for one message, on each path it can take, and for one tick.

Counted by the kernel's process events, so only on Linux and as root; the programs are named in the notes.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Final

from bench.births import Births, NoEvents
from bench.cli import command
from bench.ground import Rules, ground, live_peer, mcp_caller, processes_of
from bench.memory import descendants
from bench.rows import Row, answer, not_run
from bench.terms import PROCESSES, TERMS
from bench.wake import put_to_sleep
from mcp_server.serve.credentials import load_credentials
from tests.contract.wires import HttpWire, Wire, bridge_wire, tcp
from tests.live.control import Control
from tests.live.world import World, until

BODY: Final = "x" * 200
SCALE: Final = 60.0
"""Time runs so much faster where ticks are counted: the waits keep their proportions."""
TICK_SECONDS: Final = 60.0
CONTROL_IDLE_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 3_600.0
ORDER: Final = list(TERMS)


def run(quick: bool) -> list[Row]:
    """Count on each path, or say why nothing can be counted here."""
    count = 5 if quick else 20
    try:
        with Births(()):
            pass
    except NoEvents as error:
        return [not_run(key, str(error)) for key, term in TERMS.items() if term.group == PROCESSES]
    rows = [*_live(count), *_quiet(min(count, 5)), *_busy(count), *_workers(min(count, 10))]
    return sorted([*rows, *_ticks(10 if quick else 60)], key=lambda row: ORDER.index(row.key))


def tree(world: World) -> list[int]:
    """Return everything that carries this root, and what it started."""
    pids = {pid for seed in processes_of(world.root.home) for pid in descendants(seed)}
    return sorted(pids)


def counted(key: str, count: int, seeds: Iterable[int], action: Callable[[], object]) -> Row:
    """Do something that is `count` messages and return how many processes each took."""
    with Births(seeds) as births:
        action()
    return answer(key, len(births) / count, note=f"{count} of them: {births.told() or 'none'}")


def _live(count: int) -> list[Row]:
    """One warm peer, and every way to send to it."""
    with ground(tcp="true", port=0) as world, live_peer(world, "alice") as control, ExitStack() as stack:
        token = load_credentials(world.root.secret).operator_credential()
        caller = stack.enter_context(mcp_caller(world))
        bridge = stack.enter_context(bridge_wire(world, token).initialize())
        http = stack.enter_context(HttpWire(tcp(world), token).initialize())
        ways: dict[str, Callable[[], object]] = {
            "started.warm": lambda: _delivered(control.send("alice", BODY)),
            "started.mcp": lambda: _delivered(caller.call("send_to_peer", personality="alice", message=BODY)),
            "started.bridge": lambda: _sent(bridge),
            "started.http": lambda: _sent(http),
        }
        seeds = [*tree(world), bridge.process.pid]
        rows = [counted(key, count, seeds, lambda way=way: _repeat(way, count)) for key, way in ways.items()]  # type: ignore[misc]
        rows.append(_by_command(world, count))
    return rows


def _by_command(world: World, count: int) -> Row:
    """The commands are started by this process, so what they are has to be counted beside what they start."""
    with Births(tree(world)) as births:
        _repeat(lambda: command(world, "send", "alice", BODY), count)
    return answer("started.cli", 1 + len(births) / count, note=f"the command, and beside it {births.told() or 'none'}")


def _repeat(action: Callable[[], object], count: int) -> None:
    for _ in range(count):
        action()


def _sent(wire: Wire) -> None:
    _delivered(wire.send(personality="alice", message=BODY))


def _delivered(result: dict[str, object]) -> None:
    assert result["status"] == "delivered", result


def _quiet(count: int) -> list[Row]:
    """The control client of a session nobody writes to is let go; the next message opens one."""
    with ground(control_idle_seconds=0.2) as world, live_peer(world, "alice") as control:
        (server,) = world.servers
        started, told = 0, ""
        for _ in range(count):
            until(lambda: len(descendants(server.pid)) == 1, 20, "the end of the control client")
            with Births(tree(world)) as births:
                _delivered(control.send("alice", BODY))
            started, told = started + len(births), births.told()
    return [answer("started.quiet", started / count, note=f"each time {told or 'none'}")]


def _busy(count: int) -> list[Row]:
    """Everything is accepted during one long turn, and consumed after it."""
    rules: Rules = [{"match": "^begin", "busy_seconds": 1.0}, {}]
    with ground() as world, live_peer(world, "alice", rules) as control:

        def work() -> None:
            control.send("alice", "begin", wait_seconds=10)
            _repeat(lambda: control.send("alice", BODY, wait_seconds=0), count)
            until(lambda: world.depth("alice") == 0 or None, 60, "the end of the queue")

        return [counted("started.busy", count, tree(world), work)]


def _workers(count: int) -> list[Row]:
    """Wakes, one after the other; then tasks, each in a session of its own."""
    with ground(ephemeral_quiet_seconds=0.2) as world, live_peer(world, "alice") as control:
        started, told = 0, ""
        for _ in range(count):
            put_to_sleep(world, control, "alice")
            with Births(tree(world)) as births:
                _delivered(control.send("alice", BODY, wait_seconds=60))
            started, told = started + len(births), births.told()
        woken = answer("started.wake", started / count, note=f"each time {told}")
        world.create("worker", "--ephemeral", rules=[{"done": True}])

        def work() -> None:
            for _ in range(count):
                control.send("worker", BODY, wait_seconds=0)
            until(lambda: _is_over(world, control), 60 + 5 * count, "the end of the last task")

        return [woken, counted("started.ephemeral", count, tree(world), work)]


def _is_over(world: World, control: Control) -> bool:
    rows = control.call("queue", personality="worker")["result"]["rows"]
    return not any(row["depth"] for row in rows) and not (world.root.state / "scripted-worker.session").exists()


def _ticks(count: int) -> list[Row]:
    """Three live sessions that nobody writes to, while ticks go on as by default, only faster."""
    every = TICK_SECONDS / SCALE
    settings = {
        "tick_seconds": every,
        "control_idle_seconds": CONTROL_IDLE_SECONDS / SCALE,
        "idle_seconds": IDLE_SECONDS,
    }
    with ground(**settings) as world:
        names = ["alice", "bob", "carol"]
        for name in names:
            world.create(name)
        world.serve()
        with Control(world.root) as control:
            for name in names:
                _delivered(control.send(name, BODY, wait_seconds=60))
            _until_quiet(world, every)
            looks = counted("started.look", len(names), tree(world), lambda: _send_to(control, names, 4 * every))
            _until_quiet(world, every)
            listed = counted("started.list", len(names), tree(world), lambda: control.call("list", limit=20))
        _until_quiet(world, every)
        return [looks, listed, counted("started.tick", count, tree(world), lambda: time.sleep(count * every))]


def _send_to(control: Control, names: Iterable[str], seconds: float) -> None:
    """Send to each, and let some ticks pass."""
    for name in names:
        _delivered(control.send(name, BODY))
    time.sleep(seconds)


def _until_quiet(world: World, every: float) -> None:
    """Return when the ticks have seen all that happened, and the control clients are gone."""
    (server,) = world.servers
    time.sleep(3 * every)
    until(lambda: len(descendants(server.pid)) == 1, 20, "the end of the control clients")
