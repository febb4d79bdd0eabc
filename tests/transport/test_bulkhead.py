"""Calls that hang: they are given up, told once, and keep nobody else waiting; the paths are pipes nobody writes to."""

import asyncio
import errno
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.bulkheads import ALICE, bulkhead, compartment, pipes
from tests.live.world import until as until_now
from transport import bulkhead as module
from transport.bulkhead import AT_ONCE, Area, Compartment, NoAnswer
from transport.errors import PeerwakeError
from transport.identity import Identity

BOB = Identity("scripted", "bob")
SOON = 0.05


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(60):
        while True:
            if condition():
                return
            await anyio.sleep(0.005)


def log(directory: Path) -> str:
    path = directory / "lifecycle.log"
    return path.read_text() if path.exists() else ""


async def test_a_call_returns_and_raises_what_it_does_in_another_thread(tmp_path: Path) -> None:
    files = compartment(tmp_path)
    assert await files.run(tmp_path, lambda: (threading.current_thread() is threading.main_thread(), 7)) == (False, 7)
    with pytest.raises(FileNotFoundError):
        await files.run(tmp_path, (tmp_path / "nothing").stat)
    await files.ask(tmp_path)
    await files.ask(tmp_path / "nothing")
    assert log(tmp_path) == ""


async def test_a_path_that_hangs_is_told_once_and_refused_at_once_until_it_answers(tmp_path: Path) -> None:
    files = compartment(tmp_path)
    with pipes(tmp_path, 1) as (pipe,):
        with pytest.raises(NoAnswer, match=r"pipe-0 gave no answer in 0\.05 s"):
            await files.run(pipe.path, pipe.open, SOON)
        for _ in range(3):
            with pytest.raises(NoAnswer, match="pipe-0 gives no answer, an earlier look"):
                files.begin(pipe.path, pipe.open)
        assert await files.run(tmp_path, lambda: "another path") == "another path"
        assert log(tmp_path).count("\n") == 1
        assert f"ev=no-answer identity=scripted-alice area=directory path={pipe.path}" in log(tmp_path)
        pipe.release()
        await until(lambda: "ev=late-answer identity=scripted-alice" in log(tmp_path))
        assert await files.run(pipe.path, pipe.open) == "opened"
        assert log(tmp_path).count("\n") == 2


async def test_two_calls_that_hang_on_one_path_are_told_as_one(tmp_path: Path) -> None:
    files = compartment(tmp_path)
    with pipes(tmp_path, 1) as (pipe,):
        both = [files.begin(pipe.path, pipe.open, SOON) for _ in range(2)]
        for future in both:
            with pytest.raises(NoAnswer):
                await future
        assert log(tmp_path).count("ev=no-answer") == 1
        pipe.release()
        await until(lambda: not files._running)
        assert log(tmp_path).count("ev=late-answer") == 1


async def test_what_hangs_for_one_owner_holds_no_other_up(tmp_path: Path) -> None:
    made = bulkhead(tmp_path)
    hers, his = made.of(Area.DIRECTORY, ALICE), made.of(Area.DIRECTORY, BOB)
    assert made.of(Area.DIRECTORY, ALICE) is hers
    with pipes(tmp_path, AT_ONCE) as all_of_them:
        for pipe in all_of_them:
            with pytest.raises(NoAnswer):
                await hers.run(pipe.path, pipe.open, SOON)
        with pytest.raises(NoAnswer, match=rf"is not looked at: .*pipe-\d and {AT_ONCE - 1} more give no answer"):
            hers.begin(tmp_path, lambda: "refused")
        assert await his.run(tmp_path, lambda: "his") == "his"
        assert await made.of(Area.TRANSCRIPT, ALICE).run(tmp_path, lambda: "hers") == "hers"
        for pipe in all_of_them:
            pipe.release()
        await until(lambda: log(tmp_path).count("ev=late-answer") == AT_ONCE)
    assert await hers.run(tmp_path, lambda: "again") == "again"


async def test_a_call_waits_for_a_place_as_long_as_there_may_be_one(tmp_path: Path) -> None:
    files = compartment(tmp_path)
    with pipes(tmp_path, AT_ONCE) as all_of_them:
        running = [files.begin(pipe.path, pipe.open, SOON) for pipe in all_of_them[1:]]
        running.append(files.begin(all_of_them[0].path, all_of_them[0].open))
        waiting = files.begin(tmp_path, lambda: "next", SOON)
        for future in running[:-1]:
            with pytest.raises(NoAnswer, match="gave no answer"):
                await future
        assert not waiting.done(), "its own time begins with it"
        all_of_them[0].release()
        assert await waiting == "next"


async def test_a_call_that_waits_while_all_places_hang_is_told_so(tmp_path: Path) -> None:
    files = compartment(tmp_path)
    with pipes(tmp_path, AT_ONCE) as all_of_them:
        for pipe in all_of_them:
            files.begin(pipe.path, pipe.open, SOON).add_done_callback(asyncio.Future.exception)
        with pytest.raises(NoAnswer, match=rf"is not looked at: .*pipe-\d and {AT_ONCE - 1} more give no answer"):
            await files.run(tmp_path, lambda: "never")
        assert log(tmp_path).count("ev=no-answer") == AT_ONCE


async def test_who_is_cancelled_leaves_the_call_behind(tmp_path: Path) -> None:
    files, reached = compartment(tmp_path), threading.Event()
    with pipes(tmp_path, 1) as (pipe,):

        def work() -> str:
            reached.set()
            return pipe.open()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(files.run, pipe.path, work, 0.5)
            await until(reached.is_set)
            tasks.cancel_scope.cancel()
        await until(lambda: "ev=no-answer" in log(tmp_path))
        with pytest.raises(NoAnswer):
            files.begin(pipe.path, pipe.open)


async def test_a_process_that_did_not_run_meanwhile_gives_its_threads_more_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATE_SECONDS", 0.1)
    files = compartment(tmp_path)
    with pipes(tmp_path, 1) as (pipe,):
        future = files.begin(pipe.path, pipe.open, SOON)
        # The loop stands still for longer than the deadline, as it does when the process is stopped.
        threading.Event().wait(SOON + 0.3)
        pipe.release()
        assert await future == "opened"


async def test_a_call_that_gets_no_thread_says_so_and_takes_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = compartment(tmp_path)

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as fault:
        fault.setattr(threading.Thread, "start", refused)
        for _ in range(2 * AT_ONCE):
            with pytest.raises(NoAnswer, match=r"is not looked at: can't start new thread; it is looked at again"):
                await files.run(tmp_path, lambda: "never")
    assert await files.run(tmp_path, lambda: "again") == "again"
    assert log(tmp_path) == ""


async def test_it_is_a_timeout_of_the_system_and_an_error_of_ours(tmp_path: Path) -> None:
    error = NoAnswer(tmp_path, "gave no answer")
    assert isinstance(error, PeerwakeError)
    assert isinstance(error, TimeoutError)
    assert (error.code, error.errno) == ("no-answer", errno.ETIMEDOUT)
    assert str(error) == f"{tmp_path} gave no answer; its file system has to answer, or to be unmounted"


async def test_threads_are_used_again_and_end_when_there_is_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.2)
    files = compartment(tmp_path)
    used = {await files.run(tmp_path, threading.current_thread) for _ in range(50)}
    assert len(used) < 10
    await until(lambda: not any(thread.is_alive() for thread in used))
    assert await files.run(tmp_path, lambda: 1) == 1


def test_an_answer_after_the_end_of_the_loop_is_nobodys(tmp_path: Path) -> None:
    made = bulkhead(tmp_path)
    with pipes(tmp_path, 1) as (pipe,):

        async def begin() -> Compartment:
            files = made.of(Area.DIRECTORY, ALICE)
            files.begin(pipe.path, pipe.open)
            return files

        files = asyncio.run(begin())
        assert files.owner == ALICE
        pipe.release()
        until_now(lambda: made._idle)


PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.bulkheads import Pipe, compartment
from transport.bulkhead import NoAnswer

async def main():
    pipe = Pipe(Path(sys.argv[1]))
    try:
        await compartment(pipe.path.parent).run(pipe.path, pipe.open, 0.05)
    except NoAnswer as error:
        print(error)

asyncio.run(main())
"""


def test_a_process_ends_though_a_call_of_it_hangs(tmp_path: Path) -> None:
    with pipes(tmp_path, 1) as (pipe,):
        words = [sys.executable, "-c", PROGRAM, str(pipe.path)]
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parents[2]
        )
        assert "gave no answer in 0.05 s" in ended.stdout
