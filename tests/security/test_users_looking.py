"""Another user of the host who looks around: no file, directory, socket or process of ours tells it anything."""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.world import World
from tests.security.other_user import READ, as_them, lived_in, needs_root

pytestmark = [pytest.mark.live, needs_root]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with lived_in() as world:
        yield world


def attempts(world: World) -> list[str]:
    """Return everything that another user may try on every file, directory and socket of a root."""
    found = [f"dir {world.root.home}", f"make {world.root.home}"]
    for path in world.root.home.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            found += [f"dir {path}", f"make {path}"]
        else:
            found += [f"{kind} {path}" for kind in ("file", "write", "link", "unlink")]
    return found


def test_nothing_below_the_root_can_be_read_listed_written_linked_or_removed(world: World) -> None:
    tried = attempts(world)
    names = {Path(each.partition(" ")[2]).name for each in tried}
    assert {"secret", "server.sock", "spool.db", "lifecycle.log", "profile.json", "scripted-alice.sock"} <= names
    with tempfile.TemporaryDirectory(dir="/tmp") as aside:
        Path(aside).chmod(0o777)
        assert as_them(READ, "\0".join(tried), aside=f"{aside}/x") == []


def test_no_file_relies_on_the_root_alone(world: World) -> None:
    """Were the root itself open, every file with a secret, a message or a screen in it would still be closed."""
    for path in (world.root.home, *world.root.home.rglob("*")):
        # The test's own, the operator's own places, and a peer's directory: made by a person, or by its client.
        name = str(path.relative_to(world.root.home))
        if path.is_symlink() or name.startswith(("home", "peers/alice/scripted.json", "peers/bob/scripted.json")):
            continue
        if name in ("config.toml", "logs/server.log", "logs/test"):
            continue
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, (name, oct(path.stat().st_mode))


CONNECT = """
import json, os, socket, sys
os.setgroups([]); os.setgid({uid}); os.setuid({uid})
answers = []
for path in sys.stdin.read().split("\\0"):
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError as error:
        answers.append(error.strerror)
    else:
        answers.append("connected")
print(json.dumps(answers))
"""


def test_no_socket_can_be_connected_to(world: World) -> None:
    sockets = [path for path in world.root.home.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]
    assert {path.name for path in sockets} >= {"server.sock", "scripted-alice.sock"}
    assert set(as_them(CONNECT, "\0".join(map(str, sockets)))) == {"Permission denied"}


def test_the_environment_of_no_process_can_be_read(world: World) -> None:
    pids = [world.server_pid(), world.tmux("scripted-alice").pid, world.session("scripted-alice")["pane"]["pid"]]
    places = [f"file /proc/{pid}/{name}" for pid in pids for name in ("environ", "mem", "fd/0", "cwd")]
    places += [f"dir /proc/{pid}/fd" for pid in pids]
    assert as_them(READ, "\0".join(places), aside="/tmp/none") == []


def test_a_hard_link_to_our_secret_opens_nothing(world: World) -> None:
    """Whoever holds a link to a key may not read it: the mode is the file's, not the name's."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o777)
        linked = Path(place) / "linked"
        os.link(world.root.secret, linked)
        assert as_them(READ, f"file {linked}", aside="/tmp/none") == []
