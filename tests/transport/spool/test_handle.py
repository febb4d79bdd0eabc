"""A file that this process has open stays locked, whoever else in it opens and closes the same file."""

import os
from pathlib import Path

import pytest

from tests.transport.spool.support import ALICE, BOB, LIMITS, child, letter, rest
from transport.spool.handle import hold
from transport.spool.store import SpoolStore


def come_and_go(path: Path) -> None:
    """Have another process open the spool, look, and close it."""
    with child("look", path) as process:
        assert rest(process) == [["waiting", 1]]


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_second_store_of_the_process_leaves_the_log_to_the_first(path: Path) -> None:
    log = path.with_name("spool.db-wal")
    with SpoolStore(path) as server:
        server.enqueue(letter(to=BOB), **LIMITS)
        come_and_go(path)
        assert log.exists()
        SpoolStore(path).close()
        come_and_go(path)
        assert log.exists()
        server.enqueue(letter(to=ALICE), **LIMITS)
    with SpoolStore(path) as later:
        assert later.waiting() == {BOB: 1, ALICE: 1}


def test_a_file_is_opened_once_and_closed_by_the_last_one(path: Path) -> None:
    first = hold(path)
    second = hold(path)
    assert (second.descriptor, second.inode) == (first.descriptor, first.inode)
    first.release()
    assert is_open(second.descriptor)
    second.release()
    assert not is_open(second.descriptor)


def test_another_file_at_the_same_place_is_another_one(path: Path) -> None:
    first = hold(path)
    path.rename(path.with_name("away.db"))
    second = hold(path)
    assert second.inode != first.inode
    first.release()
    assert is_open(second.descriptor)
    second.release()


def test_a_link_is_refused(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(OSError, match="symbolic"):
        hold(path)
