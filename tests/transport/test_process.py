"""Other processes: run under a deadline, named beyond doubt, signalled exactly."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shortage import no_descriptors
from transport.process import (
    DeadlinePassed,
    ProcessId,
    ProcessUnknown,
    ProgramMissing,
    ancestry,
    group,
    identify,
    parent,
    run,
    start_detached,
    start_time,
    terminate,
)

PYTHON = sys.executable


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_a_program_s_end_and_output_are_returned() -> None:
    done = run(["/bin/sh", "-c", "cat; echo err >&2; exit 3"], deadline=5, stdin=b"in \xff")
    assert (done.status, done.stdout, done.stderr) == (3, "in \ufffd", "err\n")
    assert run(["/bin/sh", "-c", "kill -9 $$"], deadline=5).status == -9


def test_environment_and_directory_are_what_was_given(tmp_path: Path) -> None:
    done = run(["/bin/sh", "-c", "echo $X; pwd"], deadline=5, env={"X": "y"}, cwd=tmp_path)
    assert done.stdout.split() == ["y", str(tmp_path.resolve())]


def test_our_own_input_is_never_read() -> None:
    code = "from transport.process import run; print(repr(run(['/bin/cat'], deadline=3).stdout))"
    done = subprocess.run([PYTHON, "-c", code], input=b"protocol\n", capture_output=True, timeout=20, check=True)
    assert done.stdout == b"''\n"


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    (tmp_path / "garbage").write_bytes(b"\x7fELF nothing")
    (tmp_path / "garbage").chmod(0o755)
    for argv in (["peerwake-no-such-program"], [str(tmp_path / "plain")], [str(tmp_path / "garbage")], [str(tmp_path)]):
        with pytest.raises(ProgramMissing, match=argv[0]) as caught:
            run(argv, deadline=5)
        assert caught.value.code == "program-missing"
        with pytest.raises(ProgramMissing, match=argv[0]):
            start_detached(argv, env={}, cwd=tmp_path)


def test_a_directory_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match=str(tmp_path / "gone")):
        run(["/bin/echo"], deadline=5, cwd=tmp_path / "gone")


def test_the_deadline_ends_the_program_and_what_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = f"trap '' TERM; sleep 900 & echo $! > {pid_file}; wait"
    with pytest.raises(DeadlinePassed, match=r"no answer in 0\.5 s"):
        run(["/bin/sh", "-c", script], deadline=0.5)
    grandchild = int(pid_file.read_text())
    assert eventually(lambda: start_time(grandchild) is None)


def test_a_detached_program_has_a_session_and_an_environment_of_its_own(tmp_path: Path) -> None:
    output = tmp_path / "out"
    code = "import os; print(os.getsid(0) == os.getpid(), dict(os.environ).get('X'), 'HOME' in os.environ)"
    with start_detached([PYTHON, "-c", code], env={"X": "y"}, cwd=tmp_path, output=output) as child:
        assert child.wait(10) == 0
    assert output.read_text() == "True y False\n"
    assert output.stat().st_mode & 0o777 == 0o600


def test_a_process_is_named_by_pid_and_start() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert me.is_alive()
    assert not ProcessId(me.pid, "another start").is_alive()


def test_the_dead_and_the_zombie_are_not_alive() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        named = identify(child.pid)
        assert named is not None
        child.kill()
        assert eventually(lambda: not named.is_alive())
        assert identify(child.pid) is None
    assert start_time(child.pid) is None
    assert parent(child.pid) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux needs a descriptor for a look at a process")
def test_a_process_that_cannot_be_looked_at_is_not_dead() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child, subprocess.Popen(["/bin/true"]) as ended:
        named = identify(child.pid)
        assert named is not None
        ended.wait()
        with no_descriptors():
            assert named.is_alive()
            assert not ProcessId(ended.pid, named.started).is_alive()
            for ask in (identify, start_time, parent):
                with pytest.raises(ProcessUnknown, match=f"process {child.pid} cannot be looked at: Too many open"):
                    ask(child.pid)
            with pytest.raises(ProcessUnknown, match="cannot be signalled"):
                terminate(named, signal.SIGKILL)
        assert child.poll() is None
        child.kill()
        assert eventually(lambda: not named.is_alive())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hide the processes of other users")
def test_a_process_that_is_hidden_from_us_keeps_no_group_from_being_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /proc is mounted with hidepid."""
    original = Path.read_text

    def read_text(self: Path, *how: str) -> str:
        if self == Path("/proc/1/stat"):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return original(self, *how)

    monkeypatch.setattr(Path, "read_text", read_text)
    with subprocess.Popen(["/bin/sleep", "60"], process_group=0) as child:
        assert [process.pid for process in group(child.pid)] == [child.pid]
        with no_descriptors(), pytest.raises((OSError, ProcessUnknown), match="Too many open files"):
            group(child.pid)
        child.kill()


def test_parents_lead_up_to_the_first_process() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        line = list(ancestry(child.pid))
        child.kill()
    assert line[:3] == [child.pid, os.getpid(), os.getppid()]
    assert 1 not in line
    assert 0 not in line


def test_a_name_with_brackets_and_blanks_is_read_past(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([str(odd), "60"]) as child:
        assert eventually(lambda: f"({odd.name})" in Path(f"/proc/{child.pid}/stat").read_text())
        assert parent(child.pid) == os.getpid()
        assert start_time(child.pid) is not None
        child.kill()


def test_only_exactly_this_process_is_signalled() -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as child:
        named = identify(child.pid)
        assert named is not None
        assert not terminate(ProcessId(child.pid, "another start"), signal.SIGKILL)
        assert child.poll() is None
        assert terminate(named)
        assert child.wait(5) == -signal.SIGTERM
    assert not terminate(named)


def test_the_first_process_is_never_ended() -> None:
    """A record may be forged, and root may signal it; 0 only asks whether it could be."""
    first = identify(1)
    assert first is not None and first.is_alive()
    assert not terminate(first, 0)
