"""The control client against real tmux servers, also stopped and killed ones."""

import os
import random
import shutil
import signal
import subprocess
from typing import Any

import anyio
import pytest

from tests.terminal import terminal, until
from transport.process import start_piped
from transport.tmux import commands
from transport.tmux.control import TmuxGone, TmuxRefused, TmuxUnknown

pytestmark = pytest.mark.live

WORDS = [
    "a\nb",
    "\t",
    "\\",
    '"',
    "'",
    "$HOME",
    "~",
    "#",
    "#{pid}",
    "#(id)",
    ";",
    "a;",
    "{",
    "}",
    "%end 1 1 1",
    "é日本👍",
    "\x1b[A",
]


async def test_words_arrive_as_they_are() -> None:
    async with terminal() as term:
        for word in WORDS:
            await term.pane.control.command("set-buffer", "-b", "x", "--", word)
            assert term.tmux("save-buffer", "-b", "x", "-") == word


async def test_a_quarter_of_a_megabyte() -> None:
    text = ('line "x" #{pid} $HOME \\ é\n' * 20_000)[: 256 * 1024]
    async with terminal() as term:
        await term.pane.control.batch([commands.set_buffer("x", text)])
        assert term.tmux("save-buffer", "-b", "x", "-") == text


async def test_a_refusal_carries_the_words_of_tmux_and_leaves_the_client_usable() -> None:
    async with terminal() as term:
        control = term.pane.control
        with pytest.raises(TmuxRefused, match="unknown command: nonsense"):
            await control.command("nonsense")
        with pytest.raises(TmuxGone, match="can't find pane"):
            await control.command("send-keys", "-t", "%99", "x")
        assert await control.command("display-message", "-p", "#{session_name}") == ["demo-alice"]


async def test_notifications_are_not_answers() -> None:
    async with terminal() as term:
        for number in range(50):
            term.tmux("rename-window", f"w{number}")
            assert await term.pane.control.command("display-message", "-p", "#{window_name}") == [f"w{number}"]


async def test_many_at_once_get_their_own_answers() -> None:
    async with terminal() as term:

        async def ask(number: int) -> None:
            assert await term.pane.control.command("display-message", "-p", f"n{number}") == [f"n{number}"]

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(ask, number)


async def test_no_answer_is_unknown_and_the_next_question_is_asked_anew() -> None:
    async with terminal() as term:
        control = term.pane.control
        os.kill(term.started.tmux.pid, signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(TmuxUnknown):
                await control.command("list-sessions", deadline=0.2)
        os.kill(term.started.tmux.pid, signal.SIGCONT)
        assert await control.command("display-message", "-p", "x") == ["x"]


@pytest.mark.parametrize("is_seen", [True, False])
async def test_a_server_that_hangs_survives_any_number_of_questions(
    monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    """Three clients killed in their attach would crash tmux 3.3a when it goes on."""
    if not is_seen:
        monkeypatch.setattr("transport.tmux.control.is_stopped", lambda pid: False)
        monkeypatch.setattr("transport.tmux.control.HELLO_SECONDS", 0.2)
    async with terminal() as term:
        control = term.control()
        os.kill(term.started.tmux.pid, signal.SIGSTOP)
        for _ in range(5):
            with pytest.raises(TmuxUnknown):
                await control.command("list-sessions", deadline=0.4)
        os.kill(term.started.tmux.pid, signal.SIGCONT)
        assert await control.command("display-message", "-p", "x") == ["x"]
        assert await term.pane.control.command("display-message", "-p", "y") == ["y"]
        await control.aclose()


async def test_a_killed_server_is_gone() -> None:
    async with terminal() as term:
        os.kill(term.started.tmux.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(TmuxGone):
                await term.pane.capture()


async def test_a_server_killed_while_asked_is_gone() -> None:
    async with terminal() as term:
        os.kill(term.started.tmux.pid, signal.SIGSTOP)

        async def kill() -> None:
            await anyio.sleep(0.1)
            os.kill(term.started.tmux.pid, signal.SIGKILL)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            with pytest.raises(TmuxGone):
                await term.pane.capture()


async def test_a_missing_session_is_gone() -> None:
    async with terminal() as term:
        control = term.control()
        control.session = "nobody"
        with pytest.raises(TmuxGone, match="can't find session"):
            await control.command("list-sessions")


async def test_a_session_that_was_renamed_is_found_by_its_pane() -> None:
    async with terminal() as term:
        control, missing = term.control(pane=term.started.pane_id), term.control(pane="%77")
        term.tmux("rename-session", "-t", "=demo-alice", "my own")
        for _ in range(2):
            assert await control.command("display-message", "-p", "#{session_name}") == ["my own"]
            await control.aclose()
        with pytest.raises(TmuxGone, match="can't find pane"):
            await missing.command("list-sessions")


async def test_a_detached_client_is_unknown_once_and_then_comes_back() -> None:
    async with terminal() as term:
        term.tmux("detach-client", "-a")
        for line in term.tmux("list-clients", "-F", "#{client_name}").splitlines():
            term.tmux("detach-client", "-t", line)
        with pytest.raises(TmuxUnknown):
            await term.pane.capture()
        await term.pane.capture()


@pytest.mark.parametrize("with_directory", [False, True])
async def test_a_session_whose_socket_was_removed_is_reached_again(with_directory: bool) -> None:
    async with terminal() as term:
        control, socket = term.pane.control, term.spec.socket
        await control.command("display-message", "-p", "x")
        before = socket.stat().st_ino
        socket.unlink()
        if with_directory:
            term.directory.rename(term.directory.with_suffix(".away"))
        assert await control.command("display-message", "-p", "an open client does not need it") != []
        await control.aclose()
        assert await control.command("display-message", "-p", "#{session_name}") == ["demo-alice"]
        assert socket.stat().st_ino != before or with_directory
        assert socket.stat().st_mode & 0o077 == 0
        if with_directory:
            shutil.rmtree(term.directory.with_suffix(".away"))


async def test_a_cancelled_question_leaves_no_answer_behind() -> None:
    async with terminal() as term:
        control = term.pane.control
        os.kill(term.started.tmux.pid, signal.SIGSTOP)
        with anyio.move_on_after(0.1):
            await control.command("display-message", "-p", "old")
        os.kill(term.started.tmux.pid, signal.SIGCONT)
        assert await control.command("display-message", "-p", "new") == ["new"]


async def test_a_closed_client_leaves_no_process_and_opens_again() -> None:
    async with terminal() as term:
        control = term.pane.control
        assert control.is_open
        await control.aclose()
        assert not control.is_open
        await until(lambda: term.tmux("list-clients") == "")
        await term.pane.capture()
        assert len(term.tmux("list-clients").splitlines()) == 1


async def test_a_client_that_is_given_up_in_its_attach_takes_no_server_with_it() -> None:
    chance = random.Random(5)
    async with terminal() as term:
        control = term.pane.control
        answered = 0
        for number in range(500):
            with anyio.move_on_after(chance.uniform(0, 0.02)):
                await control.command("display-message", "-p", "x")
                answered += 1
            await control.aclose()
            assert term.started.tmux.is_alive(), f"dead after {number + 1} clients"
        assert 0 < answered < 500
        assert await control.command("display-message", "-p", "#{session_attached}") == ["1"]


async def test_a_client_that_is_given_up_in_its_attach_leaves_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether tmux dies of a killed one is a matter of microseconds; that it is not killed is not."""
    children: list[subprocess.Popen[bytes]] = []

    def start(*words: Any, **settings: Any) -> subprocess.Popen[bytes]:
        children.append(start_piped(*words, **settings))
        return children[-1]

    monkeypatch.setattr("transport.tmux.control.start_piped", start)
    async with terminal() as term:
        control = term.pane.control
        for number in range(1, 21):
            async with anyio.create_task_group() as group:
                group.start_soon(control.command, "display-message", "-p", "x")
                await until(lambda number=number: len(children) == number)
                group.cancel_scope.cancel()
            await control.aclose()
        assert term.started.tmux.is_alive()
    assert {child.returncode for child in children} == {0}


async def test_a_closed_client_has_left_when_it_is_closed() -> None:
    """Else the next one is in its attach when the server loses this one, and the server crashes."""
    async with terminal() as term:
        control = term.pane.control
        for _ in range(50):
            assert await control.command("display-message", "-p", "#{session_attached}") == ["1"]
            await control.aclose()
            assert term.tmux("list-clients") == ""
