"""What the canary reads and writes: lines that are whole, locks that are only looked at."""

import fcntl
from pathlib import Path

from lifecycle.watchfiles import append, is_locked


def test_a_lock_is_seen_without_being_touched(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(str(path))
    with path.open("w") as file:
        assert not is_locked(str(path))
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(str(path))
    assert not is_locked(str(path))


def test_a_line_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    assert append(str(tmp_path / "log"), "one\n")
    assert not append(str(tmp_path), "two\n")
    assert not append(str(tmp_path / "no" / "log"), "three\n")
    (tmp_path / "link").symlink_to(tmp_path / "log")
    assert not append(str(tmp_path / "link"), "four\n")
    assert (tmp_path / "log").read_text() == "one\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
