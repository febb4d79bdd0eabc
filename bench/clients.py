"""Real clients against a scripted model: what waking one and handing it a message cost beyond its own time.

Runs only where PEERWAKE_CLIENTS_BIN names the directory that holds `claude` and `codex`.
"""

import re
import secrets
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from bench.bare import start
from bench.ground import median_ms, spread
from bench.raw import Tail, open_pane, poll, wait_for
from bench.rows import Row, answer, not_run
from lifecycle.runtimes.base import SessionFacts
from tests.clients.client import Client
from tests.clients.harness import VARIABLE, clients_bin
from tests.clients.product import Product
from tests.clients.scenes import envelope
from tests.live.control import Control
from transport.process import terminate
from transport.screen import read_screen
from transport.tmux.ending import wait_dead
from transport.vocabulary import ScreenState

RUNTIMES: Final = ("claude", "codex")
POLL_SECONDS: Final = 0.01
READY_LINE: Final = re.compile(r"ts=(\S+) ev=boot identity=(\S+) end=ready")
UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def run(quick: bool) -> list[Row]:
    """Measure each client in a world of its own, or say why not."""
    if clients_bin() is None:
        why = f"set {VARIABLE} to the directory of claude and codex"
        return [not_run(f"{what}.{runtime}", why) for runtime in RUNTIMES for what in ("wake", "send")]
    rows: list[Row] = []
    for runtime in RUNTIMES:
        rows += anyio.run(_measure, runtime, 3 if quick else 10)
    return rows


@dataclass(slots=True)
class Taken:
    """Seconds of everything that was measured of one client."""

    boots: list[float] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    enters: list[float] = field(default_factory=list)
    sends: list[float] = field(default_factory=list)


async def _measure(runtime: str, count: int) -> list[Row]:
    taken, product = Taken(), Product()
    async with product:
        await product.create("alice", runtime)
        await product.serve()
        with Control(product.root) as control:
            assert (await _send(control))["status"] == "delivered"
            client = await product.client("alice")
            for number in range(count):
                await client.until(ScreenState.READY)
                taken.enters.append(await enter_to_transcript(client, number))
                await client.until(ScreenState.READY)
                began = time.perf_counter()
                result = await _send(control)
                taken.sends.append(time.perf_counter() - began)
                assert result["status"] == "delivered", result
            await client.until(ScreenState.READY)
            argv, env = words_of(client.started.pane.pid, "cmdline"), words_of(client.started.pane.pid, "environ")
            for number in range(count):
                await _stop(product, control)
                taken.boots.append(await bare_boot(client, argv, env, product.base / f"bare{number}.sock"))
                taken.wakes.append(await _wake(product, control))
    return _rows(runtime, taken)


def _rows(runtime: str, taken: Taken) -> list[Row]:
    boot, wake, enter, send = (
        statistics.median(each) for each in (taken.boots, taken.wakes, taken.enters, taken.sends)
    )
    boots, enters = f"{runtime}: its own boot to ready", f"{runtime}: its own Enter → transcript"
    return [
        Row(boots, boot * 1e3, "ms", note=spread(taken.boots)),
        Row(f"{runtime}: send → ready", wake * 1e3, "ms", None, wake / boot, boots, spread(taken.wakes)),
        answer(f"wake.{runtime}", (wake - boot) * 1e3, ratio=wake / boot, of="its own boot"),
        Row(enters, median_ms(taken.enters), "ms", note=spread(taken.enters)),
        Row(f"{runtime}: idle send → receipt", send * 1e3, "ms", None, send / enter, enters, spread(taken.sends)),
        answer(f"send.{runtime}", (send - enter) * 1e3, ratio=send / enter, of="its own Enter → transcript"),
    ]


async def _send(control: Control) -> dict[str, Any]:
    return await anyio.to_thread.run_sync(lambda: control.send("alice", "x" * 200, wait_seconds=60))


async def _stop(product: Product, control: Control) -> None:
    tmux = product.session("alice").tmux
    assert tmux is not None and control.call("stop", name="alice")["ok"]
    await wait_dead(tmux)
    assert control.call("start", name="alice")["ok"]


async def _wake(product: Product, control: Control) -> float:
    """Return the seconds from a send to the line that says the client is ready."""
    began = time.time()
    result = await _send(control)
    assert (result["status"], result["woke"]) == ("delivered", True), result
    found = READY_LINE.findall((product.root.logs / "lifecycle.log").read_text())
    return datetime.fromisoformat(found[-1][0]).timestamp() - began


async def enter_to_transcript(client: Client, number: int) -> float:
    """Return the seconds from the Enter after a pasted message to its record in the transcript."""
    word = secrets.token_hex(8)
    path = client.reader.locate(client.facts)
    assert path is not None
    await client.paste(envelope(number, word))
    tail = Tail(path)
    began = time.perf_counter()
    await client.press("Enter")
    await wait_for(tail, word.encode())
    return time.perf_counter() - began


def words_of(pid: int, kind: str) -> list[str]:
    """Return the command line (`cmdline`) or the environment (`environ`) of a process (Linux)."""
    return Path(f"/proc/{pid}/{kind}").read_text().split("\0")[:-1]


async def bare_boot(client: Client, argv: list[str], env: list[str], socket: Path) -> float:
    """Return the seconds that the same command takes in a bare tmux until it is ready, by screen and by its word."""
    session_id = str(uuid.uuid4())
    command = tuple(UUID.sub(session_id, word) for word in argv)
    variables = dict(line.split("=", 1) for line in env)
    began = time.perf_counter()
    woke_at = time.time()
    server, pane_id = await anyio.to_thread.run_sync(start, socket, command, client.facts.cwd, variables)
    pane = open_pane(socket, "bare", server, pane_id)
    try:
        (row,) = await pane.control.command("display-message", "-p", "-t", pane_id, "#{pane_pid}")
        facts = SessionFacts(session_id, client.facts.cwd, woke_at, variables, pane_pid=int(row))
        await poll(lambda: _is_ready(client, pane.capture, facts), POLL_SECONDS)
        return time.perf_counter() - began
    finally:
        await pane.aclose()
        terminate(server)
        await wait_dead(server)


async def _is_ready(client: Client, capture: Callable[[], Awaitable[Any]], facts: SessionFacts) -> bool:
    reading = read_screen(await capture(), client.runtime.screen)
    if reading.state is not ScreenState.READY:
        return False
    return not client.reader.has_status or client.reader.status(facts) is ScreenState.READY
