"""The pane logs' budget, and that a live writer keeps its file."""

import os
import subprocess

from lifecycle.panelogs import PaneLogs
from transport.identity import Identity
from transport.paths import Root

ALICE, BOB = Identity("claude", "alice"), Identity("claude", "bob")


def write(root: Root, name: str, size: int, at: float) -> None:
    path = root.logs / "panes" / name
    path.write_bytes(b"x" * size)
    os.utime(path, (at, at))


def left(root: Root) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (root.logs / "panes").iterdir()}


def test_old_logs_go_and_live_ones_stay(root: Root) -> None:
    write(root, "claude-alice.log", 10, 0)
    write(root, "claude-alice.log.1", 10, 0)
    write(root, "claude-bob.log", 10, 0)
    write(root, "claude-carol.log", 10, 950)
    assert PaneLogs(root, age_seconds=100).trim([ALICE], 1000) == 0
    assert left(root) == {"claude-alice.log": 10, "claude-carol.log": 10}


def test_over_the_budget_the_oldest_go_first(root: Root) -> None:
    for number in range(5):
        write(root, f"claude-p{number}.log", 100, 100 + number)
    write(root, "claude-alice.log", 100, 1)
    PaneLogs(root, budget_bytes=350).trim([ALICE], 200)
    assert sorted(left(root)) == ["claude-alice.log", "claude-p3.log", "claude-p4.log"]


def test_a_writer_goes_on_in_the_same_file(root: Root) -> None:
    path = root.pane_log(ALICE)
    with subprocess.Popen(["/bin/sh", "-c", f'exec cat >>"{path}"'], stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        writer.stdin.write(b"a" * 5000)
        writer.stdin.flush()
        while not path.exists() or path.stat().st_size < 5000:
            assert writer.poll() is None
        assert PaneLogs(root, rotate_bytes=4000).trim([ALICE], 0) == 0
        assert left(root) == {"claude-alice.log": 0, "claude-alice.log.1": 5000}
        writer.stdin.write(b"b" * 10)
        writer.stdin.close()
        writer.wait(10)
    assert path.read_bytes() == b"b" * 10
    assert (root.logs / "panes/claude-alice.log.1").stat().st_mode & 0o077 == 0


def test_nothing_there_is_nothing_to_do(root: Root) -> None:
    assert PaneLogs(root).trim([ALICE, BOB], 0) == 0
    (root.logs / "panes").rmdir()
    assert PaneLogs(root).trim([ALICE], 0) == 0
