"""Booting a client with a dialog that is drawn twice, as Claude Code draws its trust dialog."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.boot import Boot, BootEnd, Booter
from lifecycle.limits import Limits
from lifecycle.runtimes.base import Reader, SessionFacts
from lifecycle.runtimes.claude import CLAUDE
from transport.clock import SystemClock
from transport.paths import Root
from transport.screen import read_screen
from transport.tmux import commands
from transport.tmux.control import ControlClient
from transport.tmux.ending import kill
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux
from transport.tmux.server import ServerSpec, start
from transport.vocabulary import ScreenState

pytestmark = pytest.mark.live


async def nothing_said() -> None:
    """The client has no status of its own."""


PROGRAM = r"""
import os, select, sys, termios, time, tty
redraws = [float(word) for word in sys.argv[1].split(",") if word]
tty.setraw(0)
options, at, began = ["No, exit", "Yes, I trust this folder"], 0, time.monotonic()
def draw():
    rows = ["", " Accessing workspace:", " /somewhere", ""]
    rows += [(" \u276f " if number == at else "   ") + text for number, text in enumerate(options)]
    os.write(1, ("\x1b[2J\x1b[H" + "\r\n".join([*rows, " Enter to confirm"])).encode())
draw()
while True:
    wait = max(0, began + redraws[0] - time.monotonic()) if redraws else None
    if not select.select([0], [], [], wait)[0]:
        redraws.pop(0)
        at = 0
        draw()
        continue
    keys = os.read(0, 64)
    if keys == b"\r":
        break
    at = 1 if keys.endswith(b"B") else 0 if keys.endswith(b"A") else at
    draw()
if at == 0:
    os.write(1, b"\r\nthis folder is not trusted")
    sys.exit(1)
rule = "\u2500" * 60
os.write(1, ("\x1b[2J\x1b[H" + "\r\n".join([rule, "\u276f\u00a0", rule, "  ? for shortcuts"]) + "\x1b[2;3H").encode())
while os.read(0, 64) != b"\x03":
    pass
"""

QUOTING = r"""
import os, sys, tty
tty.setraw(0)
rule = "\u2500" * 60
rows = ["\u25cf I saw this:", "", " Accessing workspace:", "", "   Yes, I trust this folder", ""]
rows += [rule, "\u276f\u00a0", rule, "  ? for shortcuts"]
os.write(1, ("\x1b[2J\x1b[H" + "\r\n".join(rows) + "\x1b[8;3H").encode())
os.write(1, b"pressed: " + os.read(0, 64))
os.read(0, 1)
"""


SLOW = PROGRAM.replace('at = 1 if keys.endswith(b"B")', 'time.sleep(0.4); at = 1 - at if keys.endswith(b"B")')

CHANGING = r"""
import os, tty
tty.setraw(0)
def draw(*rows):
    os.write(1, ("\x1b[2J\x1b[H" + "\r\n".join(rows)).encode())
draw("", " Accessing workspace:", "", "   No, exit", " \u276f Yes, I trust this folder", " Enter to confirm")
os.read(0, 64)
draw("", " Delete everything?")
draw("", " Delete everything?", "   No", " \u276f Yes")
os.write(1, b"\r\npressed: " + os.read(0, 64))
os.read(0, 1)
"""


def locate(_: SessionFacts) -> Path | None:
    return None


@asynccontextmanager
async def booter(root: Root, redraws: str, program: str = PROGRAM) -> AsyncIterator[Booter]:
    """Start the program in tmux; it draws its dialog again at these seconds, with the cursor on "No"."""
    socket, clock = root.home / "t.sock", SystemClock()
    spec = ServerSpec(
        socket=socket,
        session="claude-alice",
        argv=(sys.executable, "-I", "-S", "-c", program, redraws),
        env={"PATH": "/usr/bin:/bin", "TERM": "xterm-256color", "LANG": "C.UTF-8"},
        cwd=root.home,
    )
    started = await start(spec)
    control = ControlClient(tmux=find_tmux(), socket=socket, session="claude-alice", server=started.tmux, clock=clock)
    pane = Pane(control, started.pane_id, clock)
    facts = SessionFacts("", root.home, clock.wall(), pane_pid=started.pane.pid)
    limits = Limits(boot_seconds=30, blocked_seconds=2)
    try:
        yield Booter(pane, CLAUDE, Reader(lambda line: None, locate), facts, nothing_said, clock, limits)
    finally:
        await pane.aclose()
        await kill(socket, started.tmux, pane=started.pane)


async def boot(root: Root, redraws: str) -> tuple[Boot, ScreenState]:
    async with booter(root, redraws) as it:
        end = await it.run()
        return end, read_screen(await it.pane.capture(), CLAUDE.screen).state


@pytest.mark.parametrize("redraws", ["", "0.15", "0.05,0.1,0.2,0.3", "0.6", "0.15,0.7"])
async def test_a_dialog_that_is_drawn_again_is_answered_as_meant(root: Root, redraws: str) -> None:
    end, state = await boot(root, redraws)
    assert (end.end, end.dialogs) == (BootEnd.READY, ("trust",)), end.excerpt
    assert state is ScreenState.READY


async def test_a_client_that_dies_says_what_it_showed(root: Root) -> None:
    async with booter(root, "") as it:
        while "No, exit" not in "\n".join((await it.pane.capture()).lines):
            await it.clock.sleep(0.01)
        await it.pane.press("Enter")
        end = await it.run()
    assert end.end is BootEnd.DIED
    assert "this folder is not trusted" in end.excerpt


async def test_a_dialog_under_copy_mode_is_answered(root: Root) -> None:
    async with booter(root, "") as it:
        while "No, exit" not in "\n".join((await it.pane.capture()).lines):
            await it.clock.sleep(0.01)
        await it.pane.control.batch([f"copy-mode -t {it.pane.pane_id}"])
        assert (await it.pane.capture()).in_mode
        end = await it.run()
        assert (end.end, end.dialogs) == (BootEnd.READY, ("trust",)), end.excerpt


async def test_a_server_that_comes_later_sees_what_the_keys_of_the_one_before_did(root: Root) -> None:
    async with booter(root, "", SLOW) as it:
        while "No, exit" not in "\n".join((await it.pane.capture()).lines):
            await it.clock.sleep(0.01)
        await it.pane.press("Down")
        end = await replace(it, facts=replace(it.facts, woke_at=it.clock.wall() - 60)).run()
        assert (end.end, end.dialogs) == (BootEnd.READY, ("trust",)), end.excerpt


async def test_the_answer_to_a_dialog_goes_into_no_other(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    async with booter(root, "", CHANGING) as it:
        press = it.pane.press

        async def late(*keys: str, **options: Any) -> None:
            monkeypatch.setattr(it.pane, "press", press)
            await press("x")
            while "Delete everything?" not in "\n".join((await it.pane.capture()).lines):
                await it.clock.sleep(0.01)
            await press(*keys, **options)

        monkeypatch.setattr(it.pane, "press", late)
        end = await it.run()
        assert (end.end, end.dialogs) == (BootEnd.BLOCKED, ())
        await it.pane.press("y")
        while "pressed:" not in "\n".join((await it.pane.capture()).lines):
            await it.clock.sleep(0.01)
        assert "pressed: y" in "\n".join((await it.pane.capture()).lines)


async def test_an_unknown_dialog_is_left_as_it_is(root: Root) -> None:
    async with booter(root, "") as it:
        it.runtime = CLAUDE.model_copy(update={"dialogs": ()})
        end = await it.run()
        assert (end.end, end.dialogs) == (BootEnd.BLOCKED, ())
        assert re.search("❯ No, exit", end.excerpt)
        assert any("❯ No, exit" in line for line in (await it.pane.capture()).lines)


@contextmanager
def person(it: Booter, text: str) -> Iterator[None]:
    """Somebody attaches with a real terminal, and types."""
    outer, inner = pty.openpty()
    argv = commands.attach_terminal(find_tmux(), it.pane.control.socket, "claude-alice")
    env = {"TERM": "screen", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, env=env, start_new_session=True)
    os.close(inner)
    try:
        os.write(outer, text.encode())
        yield
    finally:
        process.kill()
        process.wait()
        os.close(outer)


async def test_no_dialog_is_answered_while_a_person_types(root: Root) -> None:
    async with booter(root, "") as it:
        it.limits = replace(it.limits, human_quiet_seconds=3.0)
        with person(it, "\x1b[B"):
            began = it.clock.monotonic()
            end = await it.run()
            assert (end.end, end.dialogs) == (BootEnd.READY, ("trust",)), end.excerpt
            assert it.clock.monotonic() - began >= 2.0


async def test_a_client_that_refuses_to_start_is_known_by_its_screen(root: Root) -> None:
    async with booter(root, "") as it:
        it.runtime = CLAUDE.model_copy(update={"dialogs": (), "refusals": (r"^ Accessing workspace:$",)})
        end = await it.run()
        assert end.end is BootEnd.REFUSED
        assert "/somewhere" in end.excerpt
        assert any("❯ No, exit" in line for line in (await it.pane.capture()).lines)


async def test_a_resumed_conversation_that_quotes_a_dialog_is_no_dialog(root: Root) -> None:
    async with booter(root, "", QUOTING) as it:
        it.facts = replace(it.facts, session_ref="r")
        end = await it.run()
        assert (end.end, end.dialogs) == (BootEnd.READY, ())
        assert "pressed" not in "\n".join((await it.pane.capture()).lines)
