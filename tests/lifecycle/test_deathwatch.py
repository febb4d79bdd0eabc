"""Being told of deaths: by descriptor and, where there is nothing better, by polling."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from lifecycle.deathwatch import Deaths, PidfdDeaths, boot_id, cause_of, deaths, is_same, wait_status
from tests.shortage import no_descriptors
from transport.process import identify, start_time

BOTH = pytest.mark.parametrize("kind", [Deaths, PidfdDeaths])


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def prepared(kind: type[Deaths]) -> tuple[Deaths, int, int]:
    """Return a watch that a pipe can wake, and the two ends of the pipe."""
    reads, writes = os.pipe()
    watch = kind()
    watch.listen(reads)
    return watch, reads, writes


def ended(watch: Deaths, seconds: float = 10) -> tuple[bool, list[tuple[str, int | None]]]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        woken, dead = watch.wait(0.5)
        if woken or dead:
            return woken, dead
    raise AssertionError("nothing was told")


def test_without_a_descriptor_nothing_is_dead_and_nothing_is_watched(child: "subprocess.Popen[bytes]") -> None:
    watch, _, _ = prepared(PidfdDeaths)
    started = start_time(child.pid)
    assert started is not None
    with no_descriptors():
        assert is_same(child.pid, started)
        with pytest.raises(OSError, match="Too many open files"):
            watch.add("a", child.pid, started)
    assert watch.add("a", child.pid, started)
    child.kill()
    assert ended(watch) == (False, [("a", 9)])


@BOTH
def test_a_death_is_told_and_a_poke_wakes(kind: type[Deaths], child: "subprocess.Popen[bytes]") -> None:
    watch, reads, writes = prepared(kind)
    started = start_time(child.pid)
    assert started is not None
    assert watch.add("a", child.pid, started)
    assert watch.wait(0) == (False, [])
    os.write(writes, b"!")
    assert ended(watch) == (True, [])
    os.read(reads, 1)
    child.kill()
    assert ended(watch) == (False, [("a", 9 if kind is PidfdDeaths else None)])
    watch.drop("a")
    watch.drop("a")
    assert watch.wait(0) == (False, [])
    os.close(reads)
    os.close(writes)


@BOTH
def test_another_process_with_the_same_pid_is_not_watched(kind: type[Deaths], child: "subprocess.Popen[bytes]") -> None:
    watch, reads, writes = prepared(kind)
    assert not watch.add("a", child.pid, "1")
    assert not watch.add("b", 2**22 + 1, "1")
    assert watch.wait(0) == (False, [])
    os.close(reads)
    os.close(writes)


def test_here_it_is_the_descriptor() -> None:
    assert isinstance(deaths(), PidfdDeaths)


def test_the_start_time_is_the_one_that_records_hold() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert is_same(me.pid, me.started)
    assert not is_same(me.pid, me.started + "0")


def test_the_status_of_a_reaped_process_is_known_from_its_descriptor(child: "subprocess.Popen[bytes]") -> None:
    started = start_time(child.pid)
    assert started is not None
    handle = os.pidfd_open(child.pid)
    assert wait_status(handle, child.pid, started) is None
    child.send_signal(signal.SIGTERM)
    child.wait(10)
    known = wait_status(handle, child.pid, started)
    os.close(handle)
    release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
    assert known == (signal.SIGTERM if release >= (6, 15) else None)


@pytest.mark.parametrize(
    ("status", "cause"),
    [(None, "unknown"), (0, "exit:0"), (256, "exit:1"), (137 << 8, "exit:137"), (9, "SIGKILL"), (139, "SIGSEGV")],
)
def test_a_wait_status_in_words(status: int | None, cause: str) -> None:
    assert cause_of(status) == cause


def test_a_boot_has_a_name() -> None:
    assert len(boot_id()) == 36
