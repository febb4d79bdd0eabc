"""I1 as the kernel sees it: each answer leaves the server after the fsync of what it answers for."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.contract.tracing import can_trace
from tests.contract.wires import HttpWire, SocketWire, UnixHttp
from tests.live.control import Control
from tests.live.world import World, until

pytestmark = pytest.mark.live

EACH = 6
CALLS = "trace=fdatasync,fsync,pwrite64,sendto"
SYNCED = re.compile(r"(?:fsync|fdatasync)(?: resumed>.*|\(.*)\) += 0")


def over_mcp(world: World, bodies: list[str]) -> list[str]:
    with SocketWire(world.root.server_socket, {}).initialize() as wire:
        return [send_by(wire, body) for body in bodies]


def over_http(world: World, bodies: list[str]) -> list[str]:
    with HttpWire(UnixHttp(world.root.server_socket), None).initialize() as wire:
        return [send_by(wire, body) for body in bodies]


def send_by(wire: Any, body: str) -> str:
    return str(wire.send(personality="alice", message=body, wait_seconds=0)["message_id"])


def over_control(world: World, bodies: list[str]) -> list[str]:
    with Control(world.root) as control:
        return [control.send("alice", body, wait_seconds=0)["message_id"] for body in bodies]


WAYS: tuple[Callable[[World, list[str]], list[str]], ...] = (over_mcp, over_http, over_control, over_mcp, over_mcp)


@pytest.mark.skipif(
    not can_trace(), reason="no strace that may trace here: nobody has looked whether answers come after the fsync"
)
def test_no_answer_leaves_before_the_fsync_of_its_message(world: World, tmp_path: Path) -> None:
    world.create("alice")
    trace = tmp_path / "trace"
    world.prefix = ("strace", "-D", "-f", "-y", "-q", "-s", "70000", "-e", CALLS, "-o", str(trace))
    server = world.serve()
    world.prefix = ()
    bodies = [[f"body-{way}-{number}-here" for number in range(EACH)] for way in range(len(WAYS))]
    with ThreadPoolExecutor(len(WAYS)) as pool:
        ids = list(pool.map(lambda way, texts: way(world, texts), WAYS, bodies))
    server.terminate()
    server.wait(30)
    ended = re.compile(rf"^{server.pid} +\+\+\+ exited", re.MULTILINE)
    until(lambda: ended.search(trace.read_text("utf-8", "replace")), what="the end of the trace")
    lines = trace.read_text("utf-8", "replace").splitlines()
    for message_id, body in zip(chain(*ids), chain(*bodies), strict=True):
        written = [number for number, line in enumerate(lines) if "spool.db-wal>" in line and body in line]
        answered = [number for number, line in enumerate(lines) if " sendto(" in line and message_id in line]
        assert written and answered, (message_id, body)
        writer = lines[written[0]].split(maxsplit=1)[0]
        by_writer = [line for line in lines[written[0] : answered[0]] if line.startswith(f"{writer} ")]
        assert any(SYNCED.search(line) for line in by_writer), f"{message_id} was answered before its fsync"
