"""Whatever a world has started is found, and who holds which of its locks."""

import fcntl
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.faults.processes import Role, locks, mark, processes
from tests.faults.remains import _strange_locks
from tests.live.world import World
from transport.paths import Root

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

WAIT = "import sys; print('up', flush=True); sys.stdin.read()"
BEAR = (
    "import subprocess, sys; print('up', flush=True); sys.stdin.readline();"
    f"child = subprocess.Popen([sys.executable, '-c', {WAIT!r}], env={{}}, stdin=0, start_new_session=True);"
    "child.wait()"
)


@pytest.fixture
def world(root: Root) -> World:
    return World(root)


@pytest.fixture
def parent(world: World) -> Iterator["subprocess.Popen[str]"]:
    """A process without anything of the world but its mark; a line has it bear one without an environment."""
    argv = [sys.executable, "-c", BEAR]
    with subprocess.Popen(argv, env={}, cwd="/", stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield process
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def test_a_child_that_keeps_neither_environment_nor_path_is_found(
    world: World, parent: "subprocess.Popen[str]"
) -> None:
    assert list(processes(world)) == []
    mark(world, parent.pid)
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == "up\n"
    found = [(role, process.pid) for role, process, _ in processes(world)]
    assert len(found) == 2 and (Role.OTHER, parent.pid) in found


def test_a_lock_that_was_inherited_is_held(world: World) -> None:
    path = world.root.state / "scripted-alice.wake.lock"
    argv = [sys.executable, "-c", WAIT]
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        child = subprocess.Popen(argv, env=world.env, stdin=-1, stdout=-1, text=True, pass_fds=[file.fileno()])
    with child:
        assert child.stdout is not None and child.stdout.readline() == "up\n"
        assert [(role, process.pid, name) for role, process, name in locks(world)] == [(Role.OTHER, child.pid, path)]
        assert _strange_locks(world) == {f"other {child.pid}: {path}"}
        assert child.stdin is not None
        child.stdin.close()
        child.wait()
    assert list(locks(world)) == []
