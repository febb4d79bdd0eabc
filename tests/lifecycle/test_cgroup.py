"""Memory cgroups of both versions: where a process is counted, and what the kernel killed there."""

import os
import subprocess
from pathlib import Path

import pytest

from lifecycle.cgroup import EVENTS, cgroup_of, oom_kills
from tests.live.memory_cgroup import memory_cgroup


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\n", 2),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n", 5),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", None),
        ("memory.events", "oom_kill many\n", None),
        ("memory.events", "\n", None),
    ],
)
def test_kills_are_counted(tmp_path: Path, name: str, text: str, count: int | None) -> None:
    (tmp_path / name).write_text(text)
    assert oom_kills(str(tmp_path)) == count


def test_without_a_cgroup_nothing_is_known(tmp_path: Path) -> None:
    assert oom_kills(None) is None
    assert oom_kills(str(tmp_path)) is None
    assert cgroup_of(2**22 + 1) is None


def test_where_a_process_is_counted() -> None:
    found = cgroup_of(os.getpid())
    assert found is None or any((Path(found) / name).exists() for name in EVENTS)


@pytest.mark.live
def test_a_process_in_a_cgroup_of_its_own() -> None:
    name = f"peerwake-cgroup-{os.getpid()}"
    with memory_cgroup(name, 64 << 20) as place, subprocess.Popen(["/bin/sleep", "60"]) as child:
        (place / "cgroup.procs").write_text(str(child.pid))
        assert cgroup_of(child.pid) == str(place)
        assert oom_kills(str(place)) == 0
        child.kill()
