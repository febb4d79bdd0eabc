"""Attachments that give no answer: their sender is told, and nobody else waits for them."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcp_server.serve import fast_lane
from mcp_server.serve.options import ServeOptions
from tests.held_paths import Held, held
from tests.mcp_server.fronts import ALICE, Lines, Running, control, mcp_lines, running
from transport.paths import Root

INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "first",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}
PING = {"id": 9, "verb": "ping"}


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root, options=ServeOptions(port=None, stop_seconds=1.0)) as found:
        found.service.bulkhead.seconds = 120.0
        yield found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.txt"
    path.write_text("x")
    return path


@pytest.fixture
def slow(file: Path) -> Iterator[Held]:
    with held(file) as paths:
        yield paths


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


def tool(number: int, body: str, *attachments: Path, **more: Any) -> dict[str, Any]:
    arguments = {"personality": "bob", "message": body, "wait_seconds": 0}
    given = arguments | ({"attachments": [str(path) for path in attachments]} if attachments else {})
    params = {"name": "send_to_peer", "arguments": given} | more
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def verb(number: int, body: str, *attachments: Path) -> dict[str, Any]:
    return {"id": number, "verb": "send", "args": tool(number, body, *attachments)["params"]["arguments"]}


def bodies(run: Running) -> list[str]:
    return [message.body for message in run.service.accepted("bob")]


async def greet(connection: Lines) -> None:
    await connection.write(INITIALIZE, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (await connection.read())["id"] == "first"


def token(run: Running) -> str:
    return run.bearer(ALICE)["Authorization"].removeprefix("Bearer ")


async def test_nobody_else_waits_for_an_attachment(run: Running, file: Path, slow: Held) -> None:
    async with mcp_lines(run.socket, token(run)) as hers, control(run.socket) as other:
        await greet(hers)
        await hers.write(tool(1, "see there", file))
        await until(lambda: slow.waiting)
        assert (await other.ask(PING))["ok"]
        assert (await other.ask(verb(2, "hello")))["ok"]
        assert bodies(run) == ["hello"]
        slow.release()
        assert (await hers.read())["result"]["structuredContent"]["status"] == "queued"
    assert bodies(run) == ["hello", "see there"]


async def test_an_attachment_that_gives_no_answer_is_refused(run: Running, file: Path, slow: Held) -> None:
    run.service.bulkhead.seconds = 0.2
    async with mcp_lines(run.socket, token(run)) as hers, control(run.socket) as other:
        await greet(hers)
        for number, said in ((1, "gave no answer in 0.2 s"), (2, "an earlier look at it still waits")):
            error = (await hers.ask(tool(number, "see there", file)))["result"]["structuredContent"]
            assert (error["code"], error["field"]) == ("invalid", "attachments")
            assert repr(str(file)) in error["reason"]
            assert said in error["reason"]
            assert "attach a file on a file system that answers" in error["reason"]
        run.service.bulkhead.seconds = 120.0
        await other.write(verb(3, "the operator looks for itself", file))
        await until(lambda: slow.waiting == 2)
        assert bodies(run) == []
        slow.release()
        assert (await other.read())["ok"]
        log = run.root.logs / "lifecycle.log"
        await until(lambda: "ev=late-answer identity=claude-alice area=attachment" in log.read_text())
        assert (await hers.ask(tool(4, "now it answers", file)))["result"]["isError"] is False


@pytest.mark.parametrize("way", ["fast lane", "sdk", "control"])
async def test_the_sends_of_one_connection_keep_their_order(run: Running, file: Path, slow: Held, way: str) -> None:
    more = {"_meta": {"progressToken": 1}} if way == "sdk" else {}
    connected = control(run.socket) if way == "control" else mcp_lines(run.socket, token(run))
    async with connected as hers, control(run.socket) as other:
        if way == "control":
            await hers.write(verb(1, "first", file), verb(2, "second"), verb(3, "third", file.parent), PING)
            assert (await hers.read())["id"] == 9
        else:
            await greet(hers)
            await hers.write(tool(1, "first", file, **more), tool(2, "second", **more), tool(3, "third"))
            await until(lambda: slow.waiting)
            assert (await other.ask(PING))["ok"]
        assert bodies(run) == []
        slow.release()
        await until(lambda: len(bodies(run)) >= 2)
        assert {(await hers.read())["id"] for _ in range(3)} == {1, 2, 3}
    assert bodies(run) == (["first", "second"] if way == "control" else ["first", "second", "third"])


async def test_what_was_said_whole_is_accepted_though_its_sender_leaves(
    run: Running, file: Path, slow: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = anyio.Event()
    cancel = fast_lane._cancel

    def watched(task: Any) -> None:
        cancel(task)
        task.get_loop().call_soon(cancelled.set)

    monkeypatch.setattr(fast_lane, "_cancel", watched)
    async with mcp_lines(run.socket, token(run)) as hers:
        await greet(hers)
        await hers.write(tool(1, "see there", file))
        await until(lambda: slow.waiting)
    with anyio.fail_after(30):
        await cancelled.wait()
    assert bodies(run) == []
    slow.release()
    await until(lambda: bodies(run) == ["see there"])
