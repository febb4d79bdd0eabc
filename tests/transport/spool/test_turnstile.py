"""The lock of writers: exclusive over processes, bounded, freed by the kernel, in turn."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transport.spool.support import child, said, until
from transport.spool.faults import SpoolBusy, SpoolFailed
from transport.spool.turnstile import Turnstile

LOCKS = Path("/proc/locks")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "spool.lock"


@pytest.fixture
def turnstile(lock: Path) -> Iterator[Turnstile]:
    turnstile = Turnstile(lock)
    yield turnstile
    turnstile.close()


def is_free(lock: Path) -> bool:
    other = Turnstile(lock)
    try:
        other.enter(0.01)
    except SpoolBusy:
        return False
    else:
        other.leave()
        return True
    finally:
        other.close()


def test_is_held_and_left(turnstile: Turnstile, lock: Path) -> None:
    with turnstile.held(1):
        assert not is_free(lock)
    assert is_free(lock)


def test_is_left_when_the_work_fails(turnstile: Turnstile, lock: Path) -> None:
    with pytest.raises(ZeroDivisionError), turnstile.held(1):
        raise ZeroDivisionError
    assert is_free(lock)


def test_waits_for_another_process_and_gets_it(turnstile: Turnstile, lock: Path) -> None:
    with child("hold", lock) as holder:
        assert said(holder) == "held"
        assert holder.stdin is not None
        threading.Timer(0.1, lambda: print(file=holder.stdin, flush=True)).start()
        with turnstile.held(10):
            assert said(holder) == "left"


def test_stopped_holder_is_not_awaited_for_ever(turnstile: Turnstile, lock: Path) -> None:
    with child("hold", lock) as holder:
        assert said(holder) == "held"
        pid = rf" \(pid {holder.pid}\)" if LOCKS.exists() else ""
        holder.send_signal(signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(SpoolBusy, match=rf"more than 0\.2 s{pid}; nothing was stored"):
                turnstile.enter(0.2)
        holder.send_signal(signal.SIGCONT)
        print(file=holder.stdin, flush=True)
        with turnstile.held(10):
            assert said(holder) == "left"


def test_without_a_thread_to_wait_the_lock_is_refused_and_asked_for_again_later(
    turnstile: Turnstile, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with child("hold", lock) as holder:
        assert said(holder) == "held"
        with monkeypatch.context() as system:
            system.setattr(threading.Thread, "start", refuse)
            with pytest.raises(SpoolFailed, match="no thread could be started"):
                turnstile.enter(5)
        with pytest.raises(SpoolBusy):
            turnstile.enter(0.1)
        print(file=holder.stdin, flush=True)
        with turnstile.held(10):
            assert said(holder) == "left"


def test_withdrawn_request_leaves_the_lock_to_others(turnstile: Turnstile, lock: Path) -> None:
    holder = Turnstile(lock)
    holder.enter(1)
    with pytest.raises(SpoolBusy):
        turnstile.enter(0.05)
    holder.leave()
    until(lambda: is_free(lock))
    with turnstile.held(1):
        assert not is_free(lock)
    holder.close()


def test_request_after_a_withdrawn_one_is_served(turnstile: Turnstile, lock: Path) -> None:
    holder = Turnstile(lock)
    for _ in range(50):
        holder.enter(5)
        with pytest.raises(SpoolBusy):
            turnstile.enter(0.002)
        threading.Timer(0.001, holder.leave).start()
        with turnstile.held(5):
            pass
    holder.close()


@pytest.mark.skipif(not LOCKS.exists(), reason="needs /proc/locks")
def test_third_in_the_row_waits_for_its_turn_and_may_come_again(turnstile: Turnstile, lock: Path) -> None:
    holder = Turnstile(lock)
    holder.enter(1)
    with child("hold", lock) as second:
        until(lambda: _has_waiter(lock))
        for _ in range(3):
            with pytest.raises(SpoolBusy):
                turnstile.enter(0.02)
        holder.leave()
        assert said(second) == "held"
        with pytest.raises(SpoolBusy):
            turnstile.enter(0.02)
        print(file=second.stdin, flush=True)
        with turnstile.held(10):
            assert said(second) == "left"
            assert not is_free(lock)
    assert is_free(lock)
    holder.close()


def test_killed_holder_frees_it_at_once(turnstile: Turnstile, lock: Path) -> None:
    with child("hold", lock) as holder:
        assert said(holder) == "held"
        holder.kill()
        holder.wait()
        with turnstile.held(1):
            pass


@pytest.mark.skipif(not LOCKS.exists(), reason="needs /proc/locks")
def test_killed_waiter_does_not_keep_its_turn(turnstile: Turnstile, lock: Path) -> None:
    with turnstile.held(1), child("hold", lock) as waiter:
        until(lambda: _has_waiter(lock))
        waiter.kill()
        waiter.wait()
    other = Turnstile(lock)
    with other.held(1):
        pass
    other.close()


def test_closing_while_waiting_frees_everything(lock: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    holder, waiter = Turnstile(lock), Turnstile(lock)
    holder.enter(1)
    with pytest.raises(SpoolBusy):
        waiter.enter(0.01)
    waiter.close()
    holder.leave()
    holder.close()
    until(lambda: len(os.listdir("/dev/fd")) == before)
    assert is_free(lock)


def test_four_processes_lose_no_addition(lock: Path) -> None:
    number = Path(f"{lock}.number")
    number.write_text("0")
    with (
        child("count", lock, "300") as one,
        child("count", lock, "300") as two,
        child("count", lock, "300") as three,
        child("count", lock, "300") as four,
    ):
        assert [said(process) for process in (one, two, three, four)] == ["done"] * 4
    assert number.read_text() == "1200"


def _has_waiter(lock: Path) -> bool:
    inode = lock.stat().st_ino
    return any("->" in line and f":{inode} " in line for line in LOCKS.read_text().splitlines())
