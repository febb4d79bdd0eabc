"""A file that was left alone is not looked into; one that was written, or may have been, is."""

import os
import time
from pathlib import Path

import pytest

from transport.spool.trace import Trace


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_text("x")
    return path


def written(path: Path, seconds_ago: float) -> None:
    at = time.time() - seconds_ago
    os.utime(path, (at, at))


def test_a_file_left_alone_is_looked_into_once(file: Path) -> None:
    written(file, 60)
    trace = Trace(file)
    assert [trace.may_have_changed() for _ in range(3)] == [True, False, False]


def test_a_write_is_noticed(file: Path) -> None:
    written(file, 60)
    trace = Trace(file)
    trace.may_have_changed()
    written(file, 30)
    assert [trace.may_have_changed() for _ in range(2)] == [True, False]


def test_a_file_written_just_now_is_looked_into_again_and_again(file: Path) -> None:
    trace = Trace(file)
    assert [trace.may_have_changed() for _ in range(3)] == [True, True, True]


def test_a_stamp_from_the_future_proves_nothing(file: Path) -> None:
    written(file, -3600)
    trace = Trace(file)
    assert [trace.may_have_changed() for _ in range(3)] == [True, True, True]


def test_a_file_that_is_not_there_proves_nothing(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "none")
    assert [trace.may_have_changed() for _ in range(2)] == [True, True]


def test_a_file_put_in_its_place_is_noticed(file: Path) -> None:
    written(file, 60)
    trace = Trace(file)
    trace.may_have_changed()
    other = file.with_name("other")
    other.write_text("x")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert trace.may_have_changed()
