"""Messages to a live scripted session: one at a time, in a burst, and across a SIGKILL of the server."""

import signal
import time
from pathlib import Path
from typing import Final

import anyio

from bench.ground import Rules, ground, live_peer, mcp_caller, median_ms, seconds_of, spread
from bench.ledger import Ledger, audit, ids
from bench.raw import open_pane, paste_to_line
from bench.rows import Row, answer
from bench.terms import TERMS
from tests.live.control import Control
from tests.live.world import World, until
from transport.identity import parse_identity

BODY: Final = "x" * 200
FLOOR: Final = "paste + Enter → transcript"
BURST_SECONDS: Final = 300.0
REST_SECONDS: Final = 0.02
ASK_SECONDS: Final = 0.1


def run(quick: bool) -> list[Row]:
    """Measure each part in a root of its own."""
    return [*_idle(20 if quick else 150), *_burst(100 if quick else 1_000), *_killed(1 if quick else 3)]


def _idle(count: int) -> list[Row]:
    with ground() as world, live_peer(world, "alice") as control, mcp_caller(world) as caller:
        by_control: list[float] = []
        by_mcp: list[float] = []
        raw: list[float] = []

        def send() -> None:
            result = control.send("alice", BODY)
            assert result["status"] == "delivered", result

        def call() -> None:
            result = caller.call("send_to_peer", personality="alice", message=BODY)
            assert result["status"] == "delivered", result

        async def in_turn() -> None:
            record = world.session("scripted-alice")
            socket = world.root.tmux_socket(parse_identity("scripted-alice"))
            pane = open_pane(socket, "scripted-alice", world.tmux("scripted-alice"), record["pane_id"])
            transcript = _transcript(world, "alice")
            for _ in range(count):
                for seconds, action in ((by_control, send), (by_mcp, call)):
                    await anyio.sleep(REST_SECONDS)
                    seconds.append(seconds_of(action))
                await anyio.sleep(REST_SECONDS)
                raw.append(await paste_to_line(pane, transcript))
            await pane.aclose()

        anyio.run(in_turn)
    floor = median_ms(raw)
    rows = [Row(FLOOR, floor, "ms", note=spread(raw))]
    value, name = median_ms(by_control), "idle send → receipt, control connection"
    rows.append(Row(name, value, "ms", TERMS["send.idle"].bound, value / floor, FLOOR, spread(by_control)))
    value, name = median_ms(by_mcp), "idle send → receipt, MCP on the unix socket"
    rows.append(answer("send.idle", value, name=name, ratio=value / floor, of=FLOOR, note=spread(by_mcp)))
    return rows


def _transcript(world: World, name: str) -> Path:
    """Return the transcript of a peer's only session."""
    (path,) = (world.root.peers / name / ".peerwake/runtimes/scripted").glob("*.jsonl")
    return path


def _burst(count: int) -> list[Row]:
    """Queue a burst behind a turn that lasts until all of it is accepted."""
    busy = 2.0 + count / 500
    rules: Rules = [{"match": "^begin", "busy_seconds": busy}, {}]
    with ground() as world, live_peer(world, "alice", rules) as control:
        control.send("alice", "begin", wait_seconds=10)
        began = time.monotonic()
        accepted = [control.send("alice", f"{number} {BODY}", wait_seconds=0)["message_id"] for number in range(count)]
        taken = time.monotonic() - began
        assert taken < busy, f"the recipient was free again after {busy:g} s, the burst took {taken:.1f} s"
        until(lambda: _prompts(world, accepted) > 0, busy + 60, "the first delivery")
        began, already = time.monotonic(), _prompts(world, accepted)
        _await_empty(world, BURST_SECONDS)
        rate = (count - already) / (time.monotonic() - began)
        ledger = audit(accepted, world.prompts("alice"))
    rows = ledger.rows(f"burst of {count:,} to one busy recipient", "burst", note=f"{count:,} messages")
    return [*rows, Row("deliveries of the burst", rate, "/s"), Row("accepting the burst", count / taken, "/s")]


def _prompts(world: World, accepted: list[str]) -> int:
    wanted = set(accepted)
    return sum(not wanted.isdisjoint(ids(prompt)) for prompt in world.prompts("alice"))


def _await_empty(world: World, seconds: float) -> None:
    """Ask rarely, so that the asking costs nothing."""
    until_at = time.monotonic() + seconds
    with Control(world.root) as control:
        while any(row["depth"] for row in control.call("queue", personality="alice")["result"]["rows"]):
            assert time.monotonic() < until_at, f"the queue was not empty after {seconds:g} s"
            time.sleep(ASK_SECONDS)


def _killed(rounds: int) -> list[Row]:
    """Kill the server when none, some, and more of the messages are delivered."""
    total = Ledger(0, 0, 0, 0)
    for delivered in [0, 5, 12][:rounds]:
        total += _kill_after(delivered, 20)
    what = f"20 queued, server killed with SIGKILL and restarted, {rounds} times"
    return total.rows(what, "killed", note=f"{rounds} times")


def _kill_after(delivered: int, count: int) -> Ledger:
    rules: Rules = [{"match": "^begin", "busy_seconds": 1.0}, {"busy_seconds": 0.05}]
    with ground() as world:
        with live_peer(world, "alice", rules) as control:
            control.send("alice", "begin", wait_seconds=10)
            accepted = [control.send("alice", str(number), wait_seconds=0)["message_id"] for number in range(count)]
            until(lambda: _prompts(world, accepted) >= delivered, 60, "the first deliveries")
            (server,) = world.servers
            server.send_signal(signal.SIGKILL)
            server.wait()
        world.root.discovery.unlink(missing_ok=True)
        world.serve()
        _await_empty(world, 120)
        return audit(accepted, world.prompts("alice"))
