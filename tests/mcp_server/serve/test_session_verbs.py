"""The verbs about sessions on the wire: what they take, and whose they are."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from mcp_server.serve.options import ServeOptions
from tests.mcp_server.fronts import ALICE, Lines, Running, control, running
from transport.paths import Root


@pytest.fixture
async def run(root: Root) -> AsyncIterator[Running]:
    async with running(root, options=ServeOptions(port=0, stop_seconds=1.0)) as found:
        yield found


async def ask(connection: Lines, verb: str, **args: Any) -> dict[str, Any]:
    answer = await connection.ask({"id": 1, "verb": verb, "args": args})
    return dict(answer["result"] if answer["ok"] else answer["error"])


@pytest.mark.parametrize("verb", ["attach", "watch", "new", "refresh", "interrupt", "compact"])
async def test_a_name_and_a_runtime(run: Running, verb: str) -> None:
    async with control(run.socket) as connection:
        assert (await ask(connection, verb, name="bob"))["identity"] == "scripted-bob"
        assert (await ask(connection, verb, name="bob", runtime="codex"))["identity"] == "codex-bob"
        runtimes = [{"name": "bob", "runtime": runtime} for runtime in ("a-b", "")]
        for wrong in ({}, {"name": "BOB"}, *runtimes, {"name": "bob", "x": 1}):
            error = await ask(connection, verb, **wrong)
            assert error["code"] == "invalid"
            assert error["field"] in ("name", "runtime", "args")
        assert (await ask(connection, verb, name="nobody"))["code"] == "unknown-peer"


async def test_new_takes_a_seed_within_its_limit(run: Running) -> None:
    async with control(run.socket) as connection:
        assert (await ask(connection, "new", name="bob", seed="go on"))["seed"] == "go on"
        for seed in ("x" * 16_385, 7):
            error = await ask(connection, "new", name="bob", seed=seed)
            assert (error["code"], error["field"]) == ("invalid", "seed")
        assert (await ask(connection, "refresh", name="bob", seed="x"))["field"] == "args"


async def test_self_new_takes_a_seed(run: Running) -> None:
    with run.service.this_process_is(ALICE):
        async with control(run.socket) as connection:
            assert (await ask(connection, "self-new", seed="go on")) == {"identity": "claude-alice"}
            assert (await ask(connection, "self-done"))["ends"] == "session"
            assert (await ask(connection, "self-done", seed="x"))["field"] == "args"
    assert run.service.own_sessions == [("new go on", ALICE), ("done", ALICE)]


async def test_run_is_of_the_directory_one_stands_in(run: Running) -> None:
    async with control(run.socket) as connection:
        error = await ask(connection, "run")
        assert (error["code"], error["field"]) == ("invalid", "cwd")
        assert "peerwake init" in error["message"]
    run.service.rows["alice"] = replace(run.service.rows["alice"], cwd=os.getcwd())  # noqa: PTH109
    async with control(run.socket, cwd="/") as connection:
        assert (await ask(connection, "run")) == {
            "identity": "claude-alice",
            "socket": "/run/claude-alice.sock",
            "session": "claude-alice",
            "replaced": False,
        }
        assert (await ask(connection, "run", runtime="codex", replace=True))["replaced"] is True
        assert (await ask(connection, "run", replace="yes"))["field"] == "replace"
        assert (await ask(connection, "run", name="bob"))["field"] == "args"
