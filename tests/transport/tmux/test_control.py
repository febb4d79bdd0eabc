"""The control client against real tmux servers, also stopped and killed ones."""

import os
import signal
import subprocess
import sys
import time

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.terminal import TUI, terminal, until
from transport.files import LockHeld, locked
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


async def test_a_detached_client_is_unknown_once_and_then_comes_back() -> None:
    async with terminal() as term:
        term.tmux("detach-client", "-a")
        for line in term.tmux("list-clients", "-F", "#{client_name}").splitlines():
            term.tmux("detach-client", "-t", line)
        with pytest.raises(TmuxUnknown):
            await term.pane.capture()
        await term.pane.capture()


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


HOLDER = """
import sys, anyio
from pathlib import Path
from transport.clock import SystemClock
from transport.process import ProcessId
from transport.tmux.control import ControlClient

async def main():
    socket, lock, pid, started = sys.argv[1:]
    client = ControlClient(tmux="tmux", socket=Path(socket), session="demo-alice",
        server=ProcessId(int(pid), started), clock=SystemClock(), lock=Path(lock))
    await client.command("list-sessions")
    print("holding", flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_crash_frees_the_lock_and_leaves_no_client(is_stopped: bool) -> None:
    async with terminal() as term:
        lock, tmux = term.directory / "lock", term.started.tmux
        argv = [sys.executable, "-c", HOLDER, str(term.spec.socket), str(lock), str(tmux.pid), tmux.started]
        holder = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=TUI.parent.parent)  # noqa: ASYNC220
        assert holder.stdout is not None
        assert await anyio.to_thread.run_sync(holder.stdout.readline) == b"holding\n"
        holder.stdout.close()
        pane = term.another_pane(lock)
        with pytest.raises(LockHeld, match=f"held by process {holder.pid}"):
            await pane.capture()
        if is_stopped:
            os.kill(tmux.pid, signal.SIGSTOP)
        holder.kill()
        await anyio.to_thread.run_sync(holder.wait)
        os.kill(tmux.pid, signal.SIGCONT)
        await pane.capture()
        await term.pane.aclose()
        await until(lambda: len(term.tmux("list-clients").splitlines()) == 1)
        await pane.aclose()


async def test_a_lock_file_full_of_nonsense_is_held_as_long_as_it_is() -> None:
    async with terminal() as term:
        lock = term.directory / "lock"
        for text in ("", "{}", "[]", '{"owner": 1, "client": 2}', "\xff" * 5000):
            lock.write_text(text)
            pane = term.another_pane(lock)
            with locked(lock), pytest.raises(LockHeld):
                await pane.capture()
            await pane.capture()
            await pane.aclose()


async def test_a_round_trip_is_short() -> None:
    async with terminal() as term:
        await term.pane.look()
        at = time.perf_counter()
        for _ in range(50):
            await term.pane.look()
        assert time.perf_counter() - at < 5.0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60))
def test_quoting_holds_for_any_text(word: str) -> None:
    quoted = commands.quote(word)
    assert quoted[0] == quoted[-1] == '"'
    assert "\n" not in quoted and "\r" not in quoted
    inner, plain, index = quoted[1:-1], "", 0
    while index < len(inner):
        if inner[index] != "\\":
            assert inner[index] not in '"$~'
            plain, index = plain + inner[index], index + 1
        elif inner[index + 1].isdigit():
            plain, index = plain + chr(int(inner[index + 1 : index + 4], 8)), index + 4
        else:
            plain, index = plain + inner[index + 1], index + 2
    assert plain == word
