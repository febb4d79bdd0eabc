"""Files: the old or the new, whole; lines that do not mix; locks that one holds."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from transport import files
from transport.files import LockHeld, append_line, locked, opened_regular, read_regular, sync_directory, write_atomic

HOLDER = """
import sys
from pathlib import Path
from transport.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")
    write_atomic(path, "nëw")
    assert path.read_text() == "nëw"
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("untouched")
    link.symlink_to(target)
    write_atomic(link, "new")
    assert target.read_text() == "untouched"
    assert not link.is_symlink()


@pytest.mark.parametrize("seam", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, seam, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_data_and_name_are_synced_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_fsync, real_replace = files.fsync, files.replace

    def fsync(descriptor: int) -> None:
        steps.append("sync directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "sync data")  # noqa: PTH112
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("rename")
        real_replace(source, target)

    monkeypatch.setattr(files, "fsync", fsync)
    monkeypatch.setattr(files, "replace", replace)
    write_atomic(tmp_path / "file", "x")
    if sys.platform.startswith("linux"):
        assert steps == ["sync data", "rename", "sync directory"]


def test_what_need_not_last_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise AssertionError("it waited for the disk")

    monkeypatch.setattr("transport.files.fsync", refuse)
    write_atomic(tmp_path / "file", "text", durable=False)
    assert (tmp_path / "file").read_text() == "text"
    assert os.listdir(tmp_path) == ["file"]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    for action in (write_atomic, append_line):
        with pytest.raises(FileNotFoundError):
            action(tmp_path / "missing" / "file", "x")
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "missing")


def test_only_a_regular_file_within_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "fifo")
    assert read_regular(path, follow=False, limit=5)[0] == b"12345"
    assert read_regular(tmp_path / "link")[1].st_ino == path.stat().st_ino
    before = len(os.listdir("/dev/fd"))
    for name, follow, says in (
        ("link", False, "symbolic links"),
        ("fifo", True, "not a regular file"),
        (".", True, "not a regular file"),
        ("missing", True, "No such file"),
    ):
        with pytest.raises(OSError, match=says):
            read_regular(tmp_path / name, follow=follow)
    with pytest.raises(OSError, match="5 bytes are over the limit of 4"):
        read_regular(path, limit=4)
    assert len(os.listdir("/dev/fd")) == before


def test_lines_of_many_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def write(char: str) -> None:
        for _ in range(200):
            append_line(path, char * 300)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    lines = path.read_text().splitlines()
    assert len(lines) == 800
    assert all(len(line) == 300 and len(set(line)) == 1 for line in lines)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_line_with_half_a_surrogate_is_written_escaped(tmp_path: Path) -> None:
    append_line(tmp_path / "log", "a\ud800b")
    assert (tmp_path / "log").read_text() == "a\\ud800b\n"


def test_a_line_that_was_cut_short_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda _descriptor, data: len(data) - 1)
    with pytest.raises(OSError, match="No space"):
        append_line(tmp_path / "log", "x")


def test_a_link_is_not_appended_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        append_line(tmp_path / "link", "x")
    assert not (tmp_path / "target").exists()


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as descriptor:
        assert not os.get_inheritable(descriptor)
        with pytest.raises(LockHeld, match="held by another"), locked(path):
            pass
    with locked(path):
        pass


@pytest.mark.parametrize("end", [lambda child: child.stdin.close(), lambda child: child.send_signal(signal.SIGKILL)])
def test_the_kernel_frees_a_dead_holder_s_lock(tmp_path: Path, end: Callable[[subprocess.Popen[str]], None]) -> None:
    path = tmp_path / "lock"
    argv = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(LockHeld), locked(path):
            pass
        end(child)
        child.wait(10)
        with locked(path):
            pass


def test_only_a_regular_file_is_opened_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    with opened_regular(tmp_path / "file") as file:
        assert file.read(2) == b"ab"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        with pytest.raises(OSError, match="regular file"), opened_regular(tmp_path / name):
            pass
