"""Looking at a pane, and typing into it."""

import os
import signal

import anyio
import pytest

from tests.terminal import CLOCK, RULES, Person, Terminal, terminal, until
from transport.screen import read_screen
from transport.tmux import commands
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.tmux.pane import PaneInMode, stance_of
from transport.vocabulary import ScreenState

pytestmark = pytest.mark.live


async def test_a_capture_tells_everything() -> None:
    async with terminal(width=90, height=25, DRAFT="abc") as term:
        screen = await term.pane.capture()
        assert (screen.width, screen.height, len(screen.lines)) == (90, 25, 25)
        assert (screen.in_mode, screen.dead, screen.alternate) == (False, False, False)
        assert screen.lines[screen.cursor_y] == "❯\u00a0abc"
        assert screen.cursor_x == 5
        term.tmux("select-pane", "-t", term.started.pane_id, "-T", "⠹ a | title")
        assert (await term.pane.capture()).title == "⠹ a | title"


async def test_an_unknown_pane_is_gone() -> None:
    async with terminal() as term:
        pane = term.another_pane()
        pane.pane_id = "%7"
        with pytest.raises(TmuxGone):
            await pane.capture()
        with pytest.raises(TmuxGone):
            await pane.press("x")
        await pane.aclose()


async def test_a_pane_that_was_killed_beside_another_is_gone() -> None:
    async with terminal() as term:
        term.tmux("new-window", "-d", "-t", "demo-alice", "sleep 60")
        screen = await term.pane.capture()
        stance = stance_of(screen, screen.people)
        term.tmux("kill-pane", "-t", term.started.pane_id)
        with pytest.raises(TmuxGone):
            await term.pane.paste("x", stance=stance)
        with pytest.raises(TmuxGone):
            await term.pane.press("x", stance=stance)
        assert term.tmux("list-buffers") == ""


async def test_the_agents_pane_is_found_by_its_id_when_there_are_others() -> None:
    async with terminal() as term:
        term.tmux("split-window", "-b", "-t", term.started.pane_id, "sleep 60")
        await term.pane.press("x")
        await until(lambda: term.keys == ["x"])

        async def shows_it() -> bool:
            return (await term.reading()).input_text == "x"

        await until(shows_it)


async def test_keys() -> None:
    async with terminal() as term:
        await term.pane.press("a", "Tab", "Enter", "C-c")
        await until(lambda: term.keys == ["a", "\t", "\r", "\x03"])


async def test_no_buffer_is_left_behind() -> None:
    async with terminal() as term:
        await term.pane.paste("secret")
        term.tmux("copy-mode", "-t", term.started.pane_id)
        with pytest.raises(PaneInMode):
            await term.pane.paste("secret")
        assert term.tmux("list-buffers") == ""
        await until(lambda: term.pastes == ["secret"])


async def test_nothing_is_typed_in_copy_mode() -> None:
    async with terminal() as term:
        term.tmux("copy-mode", "-t", term.started.pane_id)
        with pytest.raises(PaneInMode):
            await term.pane.press("q")
        assert (await term.pane.capture()).in_mode
        await term.pane.leave_mode()
        await term.pane.leave_mode()
        assert not (await term.pane.capture()).in_mode
        assert term.events() == []


async def test_a_stopped_server_types_nothing_when_it_goes_on() -> None:
    async with terminal() as term:
        await term.pane.look()
        os.kill(term.started.tmux.pid, signal.SIGSTOP)
        for action in (term.pane.paste("late", deadline=0.3), term.pane.press("Enter", deadline=0.3)):
            with pytest.raises(TmuxUnknown):
                await action
        late = CLOCK.wall() + 2.5
        await until(lambda: CLOCK.wall() > late)
        os.kill(term.started.tmux.pid, signal.SIGCONT)
        await term.pane.capture()
        await term.pane.press("x")
        await until(lambda: term.keys == ["x"])
        assert term.pastes == []


async def test_what_runs_when_its_moment_is_over_types_nothing() -> None:
    """As in a server that was stopped meanwhile, but whatever it hears of first: the commands or its client's end."""
    async with terminal() as term:
        pane, late = term.started.pane_id, int(CLOCK.wall()) - 1
        await term.pane.control.batch(
            [
                commands.set_buffer("late", "late"),
                commands.paste_buffer("late", pane, late, None, None),
                commands.send_keys(["y"], pane, late, None, None),
            ]
        )
        await term.pane.press("x")
        await until(lambda: "x" in term.keys)
        assert (term.keys, term.pastes) == (["x"], [])


async def test_people_are_seen_and_control_clients_are_not() -> None:
    async with terminal() as term:
        assert (await term.pane.look()).human_at is None
        person = Person(term)
        try:
            await until(lambda: len(term.tmux("list-clients").splitlines()) == 2)
            before = CLOCK.wall()
            person.type("x")
            await until(lambda: term.keys == ["x"])
            at = (await term.pane.look()).human_at
            assert at is not None and abs(at - before) <= 2.0
        finally:
            person.leave()
        await until(lambda: len(term.tmux("list-clients").splitlines()) == 1)
        assert (await term.pane.look()).human_at is None


async def test_who_only_watches_is_not_typing() -> None:
    async with terminal() as term:
        person = Person(term, "-r")
        try:
            await until(lambda: len(term.tmux("list-clients").splitlines()) == 2)
            assert (await term.pane.look()).human_at is None
        finally:
            person.leave()


async def test_a_dead_pane_shows_as_dead() -> None:
    async with terminal() as term:
        await term.pane.press("C-d")

        async def dead() -> bool:
            return (await term.pane.capture()).dead

        await until(dead)
        assert read_screen(await term.pane.capture(), RULES).state is ScreenState.UNKNOWN
        with pytest.raises(TmuxGone):
            await term.pane.press("x")
        with pytest.raises(TmuxGone):
            await term.pane.paste("x")


async def test_a_pane_that_changes_size() -> None:
    async with terminal(DRAFT="the quick brown fox jumps over the lazy dog") as term:
        term.tmux("resize-window", "-x", "20", "-y", "15")

        async def narrow() -> bool:
            screen = await term.pane.capture()
            return (screen.width, screen.height) == (20, 15)

        await until(narrow)
        with anyio.fail_after(5):
            await term.pane.press("!")
            await until(lambda: term.keys == ["!"])
        reading = await term.reading()
        assert "".join((reading.input_text or "").split()) == "thequickbrownfoxjumpsoverthelazydog!"


async def test_who_is_there_and_when_there_was_output() -> None:
    """Our control client is nobody; a person is somebody, read-only or not; coming and looking is no output."""
    async with terminal() as term:
        await term.pane.capture()
        before = await term.pane.attendance()
        assert before.clients == 0 and 0 <= CLOCK.wall() - before.output_at < 30
        await until(lambda: CLOCK.wall() - before.output_at > 2)
        for flags in ((), ("-r",)):
            person = Person(term, *flags)
            await until(lambda: _is_alone(term, False))
            person.leave()
            await until(lambda: _is_alone(term))
        other = term.another_pane()
        await other.capture()
        assert (await term.pane.attendance()).clients == 1
        await other.aclose()
        await until(lambda: _is_alone(term))
        await term.pane.press("x")
        await until(lambda: term.keys == ["x"])
        await until(lambda: _has_output_after(term, before.output_at))


async def _is_alone(term: Terminal, wanted: bool = True) -> bool:
    return ((await term.pane.attendance()).clients == 0) is wanted


async def _has_output_after(term: Terminal, at: float) -> bool:
    return (await term.pane.attendance()).output_at > at
