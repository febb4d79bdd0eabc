"""Bad attachments, by MCP and from the command line: refused by name before anything is queued.

Checklist of issue 2: relative, missing, unreadable, a directory, a symlink loop, too many.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.bad_input import credential, forbid, private_world, refused, stored, unchanged, under_permissions
from tests.contract.wires import SocketWire, Wire, wire
from tests.live.world import World

pytestmark = pytest.mark.live

Make = Callable[[Path], str]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with private_world() as world:
        world.prefix = under_permissions()
        world.create("alice")
        world.create("bob")
        world.serve()
        yield world


@pytest.fixture(scope="module")
def bob(world: World) -> Iterator[Wire]:
    with wire("lines", world, credential(world, "scripted-bob")) as made:
        assert isinstance(made, SocketWire)
        yield made


@pytest.fixture
def place(world: World) -> Path:
    """A directory of this test's own that the server can read."""
    path = world.root.home / "files" / os.urandom(4).hex()
    path.mkdir(parents=True)
    return path


def missing(place: Path) -> str:
    return str(place / "nothing")


def below_a_file(place: Path) -> str:
    (place / "file").write_text("x")
    return str(place / "file" / "deeper")


def unreadable(place: Path) -> str:
    (place / "secret").write_text("x")
    return str(forbid(place / "secret"))


def in_a_closed_directory(place: Path) -> str:
    (place / "closed").mkdir()
    (place / "closed" / "file").write_text("x")
    forbid(place / "closed")
    return str(place / "closed" / "file")


def directory(place: Path) -> str:
    return str(place)


def loop(place: Path) -> str:
    (place / "a").symlink_to(place / "b")
    (place / "b").symlink_to(place / "a")
    return str(place / "a")


def dangling(place: Path) -> str:
    (place / "link").symlink_to(place / "nothing")
    return str(place / "link")


def fifo(place: Path) -> str:
    os.mkfifo(place / "pipe")
    return str(place / "pipe")


def device(place: Path) -> str:
    return "/dev/zero"


def with_a_line_break(place: Path) -> str:
    (place / "two\nlines").write_text("x")
    return str(place / "two\nlines")


def too_long_a_name(place: Path) -> str:
    return str(place / ("n" * 300))


BAD: dict[str, tuple[Make, str]] = {
    "missing": (missing, "No such file"),
    "below a file": (below_a_file, "Not a directory"),
    "unreadable": (unreadable, "Permission denied"),
    "in a closed directory": (in_a_closed_directory, "Permission denied"),
    "a directory": (directory, "a directory"),
    "a symlink loop": (loop, "symbolic links"),
    "a dangling symlink": (dangling, "No such file"),
    "a fifo": (fifo, "not a regular file"),
    "a device": (device, "not a regular file"),
    "a line break in its name": (with_a_line_break, "control characters"),
    "too long a name": (too_long_a_name, "name too long"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_attachment_is_refused_by_mcp(world: World, bob: Wire, place: Path, case: str) -> None:
    make, says = BAD[case]
    good = place / "good"
    good.write_text("x")
    path = make(place)
    with unchanged(world):
        structure = bob.send(personality="alice", message="see there", attachments=[str(good), path], wait_seconds=0)
    assert (structure["status"], structure["code"], structure["field"]) == ("error", "invalid", "attachments")
    assert says.lower() in structure["reason"].lower()
    assert repr(path)[:100] in structure["reason"]
    assert "attach" in structure["reason"] or "rename" in structure["reason"]


@pytest.mark.parametrize("case", ["missing", "unreadable", "a directory", "a symlink loop", "a fifo"])
@pytest.mark.parametrize("has_server", [True, False])
def test_a_bad_attachment_is_refused_by_the_command(world: World, place: Path, case: str, has_server: bool) -> None:
    make, says = BAD[case]
    path = make(place)
    env = {} if has_server else {"PEERWAKE_HOME": str(offline_root(world))}
    with unchanged(world):
        done = world.run("send", "alice", "see there", "--attach", path, env=env)
        refused(done, 4, "attachments", path)
        assert says.lower() in done.stderr.lower()
    assert not (offline_root(world) / "state" / "spool.db").exists()


def offline_root(world: World) -> Path:
    """Return another root with an alice and no server."""
    home = world.root.home / "other"
    if not home.exists():
        made = world.run("create", "alice", "--runtime", "scripted", env={"PEERWAKE_HOME": str(home)})
        assert made.returncode == 0, made.stderr
    return home


@pytest.mark.parametrize("path", ["file.txt", "./file.txt", "../file.txt", "~/file.txt", "", "file:///etc/hostname"])
def test_a_relative_path_is_refused_by_mcp(world: World, bob: Wire, path: str) -> None:
    with unchanged(world):
        structure = bob.send(personality="alice", message="x", attachments=[path], wait_seconds=0)
    assert (structure["code"], structure["field"]) == ("invalid", "attachments")
    assert "absolute" in structure["reason"]


def test_a_relative_path_of_the_command_is_taken_from_its_directory(world: World, place: Path) -> None:
    (place / "file").write_text("x")
    with unchanged(world):
        refused(world.run("send", "alice", "x", "--attach", "nofile", cwd=place), 4, str(place / "nofile"))


def test_a_relative_path_from_a_directory_that_is_gone_is_refused(world: World, place: Path) -> None:
    script = f'cd {place} && rmdir {place} && exec "$@"'
    before = world.prefix
    world.prefix = (*before, "/bin/sh", "-c", script, "sh")
    try:
        with unchanged(world):
            refused(world.run("send", "alice", "x", "--attach", "file"), 2, "file", "directory is gone", "absolute")
    finally:
        world.prefix = before


def test_too_many_are_refused_and_twenty_are_not(world: World, bob: Wire, place: Path) -> None:
    paths = [place / f"file{number}" for number in range(21)]
    for path in paths:
        path.write_text("x")
    many = [str(path) for path in paths]
    with unchanged(world):
        structure = bob.send(personality="alice", message="x", attachments=many, wait_seconds=0)
        assert (structure["code"], structure["field"]) == ("invalid", "attachments")
        assert "21" in structure["reason"]
        assert "20" in structure["reason"]
        words = [word for path in many for word in ("--attach", path)]
        refused(world.run("send", "alice", "x", *words), 4, "21", "20")
    before = len(stored(world))
    sent = bob.send(personality="alice", message="x", attachments=many[:20], wait_seconds=60)
    assert sent["status"] == "delivered", sent
    assert len(stored(world)) == before + 1
    assert 'attachments="20"' in world.prompts("alice")[-1]
