"""Starting a client: the record comes before the process, and a failure leaves neither."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace

import anyio
import pytest

from lifecycle.environment import LaunchEnvInvalid, launch_env_path
from lifecycle.launch import DirectoryGone, Launcher, RuntimeMissing
from lifecycle.plan import Plan
from lifecycle.runtimes.base import CannotResume, Runtime
from lifecycle.session import Session
from lifecycle.start import Start
from lifecycle.states import Mode, StartReason
from tests.lifecycle.workshop import Workshop, workshop
from transport.identity import Identity
from transport.paths import Root
from transport.profile import Profile
from transport.tmux.listener import listener
from transport.tmux.server import AgentExited, ServerRunning

ALICE = Identity("scripted", "alice")
FRESH = Plan(Start(Mode.FRESH, StartReason.FIRST))


@pytest.fixture
async def shop(root: Root) -> AsyncIterator[Workshop]:
    async with workshop(root) as built:
        built.peer()
        yield built


def parts(shop: Workshop) -> tuple[Launcher, Profile, Runtime]:
    profile = shop.parts.application.registry.get("alice")
    assert profile is not None
    return shop.deck.waker.launcher, profile, shop.parts.table.get("scripted")


async def nothing_is_left(shop: Workshop) -> None:
    assert shop.deck.sessions.identities() == []
    assert listener(shop.root.tmux_socket(ALICE)) is None


async def test_a_directory_that_is_gone(shop: Workshop) -> None:
    launcher, profile, runtime = parts(shop)
    profile.cwd.rename(shop.root.home / "moved")
    with pytest.raises(DirectoryGone, match="restore it or remove the peer"):
        await launcher.start(profile, runtime, FRESH)
    await nothing_is_left(shop)


async def test_a_client_that_is_not_installed(shop: Workshop) -> None:
    launcher, profile, runtime = parts(shop)
    missing = runtime.model_copy(update={"argv": ("no-such-client",), "install": "Install it with: get it"})
    with pytest.raises(RuntimeMissing, match=r"needs no-such-client, .* Install it with: get it"):
        await launcher.start(profile, missing, FRESH)
    await nothing_is_left(shop)


async def test_nothing_to_resume(shop: Workshop) -> None:
    launcher, profile, runtime = parts(shop)
    with pytest.raises(CannotResume):
        await launcher.start(profile, runtime, Plan(Start(Mode.RESUME, StartReason.ASKED)))
    await nothing_is_left(shop)


async def test_a_bad_launch_env_is_named(shop: Workshop) -> None:
    launcher, profile, runtime = parts(shop)
    path = launch_env_path(profile.cwd, "scripted")
    path.parent.mkdir(parents=True)
    path.write_text("not a line\n")
    with pytest.raises(LaunchEnvInvalid, match=r"launch\.env:1"):
        await launcher.start(profile, runtime, FRESH)
    await nothing_is_left(shop)


@pytest.mark.live
async def test_the_record_says_what_runs(shop: Workshop) -> None:
    launcher, profile, runtime = parts(shop)
    session = await launcher.start(profile, runtime, FRESH, task="m_1")
    assert shop.record(ALICE) == session
    assert session.is_alive() and not session.is_ready and session.task == "m_1"
    assert listener(shop.root.tmux_socket(ALICE)) == session.tmux
    assert session.client_env["HOME"] == str(shop.root.home / "home")


@pytest.mark.live
async def test_a_session_without_a_scope_of_its_own_is_told_of(
    shop: Workshop, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher, profile, runtime = parts(shop)
    program = root.home / "bin" / "systemd-run"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    program.chmod(0o700)
    (root.home / "systemd").mkdir()
    (root.home / "systemd" / "private").touch()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(root.home))
    session = await replace(launcher, scope=True).start(profile, runtime, FRESH)
    assert session.is_alive() and session.tmux is not None
    line = f"ev=no-scope identity=scripted-alice tmux={session.tmux.pid} "
    assert line + 'reason="no scope could be had: Failed to connect to bus"' in shop.log()


@pytest.mark.live
async def test_a_client_that_ends_at_once_leaves_its_cause_and_no_record(shop: Workshop) -> None:
    launcher, profile, runtime = parts(shop)
    short = runtime.model_copy(update={"argv": ("/bin/sh", "-c", "exit 7")})
    try:
        session: Session | None = await launcher.start(profile, short, FRESH)
    except AgentExited:
        session = None
    if session is None:
        await nothing_is_left(shop)


@pytest.mark.live
async def test_a_second_start_neither_ends_nor_forgets_what_runs(shop: Workshop) -> None:
    """Whoever wakes looks first; should it not, the session that runs still wins."""
    launcher, profile, runtime = parts(shop)
    session = await launcher.start(profile, runtime, FRESH)
    with pytest.raises(ServerRunning):
        await launcher.start(profile, runtime, FRESH)
    assert session.is_alive()


@pytest.mark.live
async def test_the_credential_is_in_the_environment_and_in_no_argument_or_record(shop: Workshop) -> None:
    launcher, profile, runtime = parts(shop)
    session = await launcher.start(profile, runtime, FRESH)
    credential = launcher.credential(ALICE)
    assert session.pane is not None and session.tmux is not None
    words = await _arguments_with("scripted.py")
    assert credential not in words
    assert credential not in shop.deck.sessions.path(ALICE).read_text() + shop.log()
    assert shop.deck.sessions.path(ALICE).stat().st_mode & 0o777 == 0o600


async def _arguments_with(program: str) -> str:
    """Return the argument lists of all processes once one runs `program`: that is a moment after its start."""
    with anyio.fail_after(10):
        while True:
            done = await anyio.run_process(["ps", "-A", "-ww", "-o", "args="])
            if program in (words := done.stdout.decode()):
                return words
