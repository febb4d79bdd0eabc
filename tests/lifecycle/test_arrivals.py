"""Who has asked for our tools, and how long a first message waits for that."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from lifecycle.arrivals import TOOLS_SECONDS, Arrivals, is_configured
from lifecycle.runtimes.claude import CLAUDE
from lifecycle.runtimes.codex import CODEX
from lifecycle.runtimes.scripted import SCRIPTED
from lifecycle.session import Session
from lifecycle.states import Mode
from tests.bulkheads import bulkhead
from tests.clock import FakeClock
from tests.held_paths import held
from transport.identity import Identity

ALICE, BOB = Identity("claude", "alice"), Identity("claude", "bob")


@dataclass
class Scene:
    """A client that boots, and who waits for it."""

    clock: FakeClock
    arrivals: Arrivals
    session: Session
    answers: list[bool] = field(default_factory=list)

    async def wait(self) -> None:
        self.answers.append(await self.arrivals.wait(self.session, CLAUDE))

    async def waits(self) -> None:
        await self.clock.until(lambda: self.clock.sleeping or self.answers)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    (tmp_path / ".mcp.json").write_text('{"mcpServers": {"peerwake": {}}}')
    clock = FakeClock()
    session = Session(ALICE, "h", "t", str(tmp_path), "f", clock.wall(), Mode.FRESH, "s")
    return Scene(clock, Arrivals(clock, bulkhead(tmp_path)), session)


async def test_a_message_waits_until_the_client_has_asked(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.wait)
        await scene.waits()
        scene.arrivals.arrived(BOB)
        await scene.clock.advance(TOOLS_SECONDS / 2)
        assert scene.answers == []
        scene.arrivals.arrived(ALICE)
    assert scene.answers == [True]


async def test_a_client_whose_files_give_no_answer_is_not_waited_for(scene: Scene, tmp_path: Path) -> None:
    scene.arrivals.bulkhead.seconds = 0.1
    with held(tmp_path / ".mcp.json"):
        await scene.wait()
    assert scene.answers == [True]


async def test_who_has_asked_already_is_not_waited_for(scene: Scene) -> None:
    scene.arrivals.arrived(ALICE)
    await scene.wait()
    assert scene.answers == [True]


async def test_the_arrival_of_an_earlier_session_does_not_count(scene: Scene) -> None:
    scene.arrivals.arrived(ALICE)
    await scene.clock.advance(1)
    scene.session = replace(scene.session, woke_at=scene.clock.wall())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.wait)
        await scene.waits()
        assert scene.answers == []
        scene.arrivals.arrived(ALICE)
    assert scene.answers == [True]


async def test_who_was_waited_for_in_vain_is_not_waited_for_again_until_it_comes(scene: Scene) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.wait)
        await scene.waits()
        await scene.clock.until(lambda: scene.answers == [False])
    assert scene.answers == [False]
    await scene.wait()
    assert scene.answers == [False, True]
    scene.arrivals.arrived(ALICE)
    await scene.clock.advance(1)
    scene.session = replace(scene.session, woke_at=scene.clock.wall())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(scene.wait)
        await scene.waits()
        await scene.clock.until(lambda: len(scene.answers) == 3)
    assert scene.answers == [False, True, False]


async def test_a_client_without_our_tools_is_not_waited_for(scene: Scene) -> None:
    (Path(scene.session.cwd) / ".mcp.json").write_text('{"mcpServers": {"other": {}}}')
    await scene.wait()
    assert scene.answers == [True]


def test_the_files_that_configure_a_client(tmp_path: Path) -> None:
    assert not any(is_configured(runtime, tmp_path) for runtime in (CLAUDE, CODEX, SCRIPTED))
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex/config.toml").write_text("[mcp_servers.peerwake]")
    assert is_configured(CODEX, tmp_path) and not is_configured(CLAUDE, tmp_path)
    (tmp_path / ".mcp.json").mkdir()
    assert not is_configured(CLAUDE, tmp_path)
