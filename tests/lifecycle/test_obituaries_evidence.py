"""The lines about deaths wait a moment for the evidence, and no longer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from lifecycle.obituaries import EVIDENCE_SECONDS, Obituaries
from tests.lifecycle.stage import ALICE, Scene, scene
from transport.logline import fields_of
from transport.logs import logfmt
from transport.paths import Root
from transport.process import ProcessId


@pytest.fixture
async def stage(root: Root) -> AsyncIterator[Scene]:
    async with scene(root) as built:
        yield built


@asynccontextmanager
async def waiting(stage: Scene) -> AsyncIterator[Obituaries]:
    """Yield obituaries that have tasks to wait in, as while a server runs."""
    found = stage.deck.deaths.obituaries
    async with anyio.create_task_group() as tasks:
        found.tasks = tasks
        try:
            yield found
        finally:
            found.tasks = None


def written(stage: Scene) -> list[dict[str, str]]:
    return [fields_of(line) for line in stage.log("lifecycle").splitlines()]


def evidence(stage: Scene, event: str, pid: int, **fields: object) -> None:
    with (stage.root.logs / "exits.log").open("a") as file:
        file.write(logfmt(0.0, event, {"identity": ALICE, "server_pid": pid, **fields}) + "\n")


async def test_evidence_that_comes_late_is_waited_for(stage: Scene) -> None:
    async with waiting(stage) as found:
        found.add("session-gone", ALICE, ProcessId(7, "1"))
        await stage.clock.advance(1.0)
        assert written(stage) == []
        evidence(stage, "server-exit", 7, cause="SIGKILL")
        await stage.clock.until(lambda: written(stage), limit=EVIDENCE_SECONDS)
    (line,) = written(stage)
    assert (line["ev"], line["reason"]) == ("server-dead", "its tmux server ended by SIGKILL")


async def test_without_evidence_the_line_says_so(stage: Scene) -> None:
    async with waiting(stage) as found:
        found.add("session-gone", ALICE, ProcessId(7, "1"))
        await stage.clock.until(lambda: written(stage), limit=EVIDENCE_SECONDS + 2)
    (line,) = written(stage)
    assert (line["ev"], line["reason"]) == ("session-gone", "nothing in exits.log says why")


async def test_deaths_of_one_identity_keep_their_own_causes(stage: Scene) -> None:
    async with waiting(stage) as found:
        for pid, event, fields in ((7, "session-exit", {"dead_status": 3}), (8, "server-exit", {"cause": "SIGKILL"})):
            found.add("session-gone", ALICE, ProcessId(pid, "1"))
            evidence(stage, event, pid, **fields)
        await stage.clock.until(lambda: len(written(stage)) == 2, limit=EVIDENCE_SECONDS + 2)
    assert [(line["tmux"], line["ev"]) for line in written(stage)] == [("7", "session-gone"), ("8", "server-dead")]


async def test_the_line_of_a_server_that_had_the_same_pid_is_no_evidence(stage: Scene) -> None:
    evidence(stage, "session-exit", 7, dead_status=0, server_started="1")
    async with waiting(stage) as found:
        found.add("session-gone", ALICE, ProcessId(7, "2"))
        await stage.clock.advance(1.0)
        assert written(stage) == []
        evidence(stage, "server-exit", 7, cause="SIGKILL", server_started="2")
        await stage.clock.until(lambda: written(stage), limit=EVIDENCE_SECONDS)
    (line,) = written(stage)
    assert (line["ev"], line["reason"]) == ("server-dead", "its tmux server ended by SIGKILL")
