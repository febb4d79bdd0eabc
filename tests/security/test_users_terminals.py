"""Another user of the host who listens where the tmux server of a session would: it is told nothing, and named."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.bad_input import refused
from tests.live.alice import consumed
from tests.live.keyboard import at_a_terminal
from tests.live.world import World, until
from tests.security.other_user import THEIRS, lived_in, needs_root
from transport.identity import parse_identity

pytestmark = [pytest.mark.live, needs_root]

LISTEN = """
import os, socket
os.setgroups([]); os.setgid({uid}); os.setuid({uid}); os.umask(0)
os.chdir({place!r})
taken = open("taken", "wb", buffering=0)
listener = socket.socket(socket.AF_UNIX)
listener.bind("s")
listener.listen(64)
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    taken.write(b"connected")
    connection.settimeout(5)
    try:
        while data := connection.recv(65536):
            taken.write(data)
    except OSError:
        pass
"""


@dataclass(frozen=True)
class Listener:
    """A process of another user that listens on a socket, and notes what it is told."""

    place: Path
    process: "subprocess.Popen[bytes]"

    def stand_at(self, path: Path) -> None:
        """Put its socket somewhere, as was possible while the directory there was open to others."""
        (self.place / "s").rename(path)

    def was_told_nothing(self) -> bool:
        """Tell whether nobody has connected to it, nor ended it."""
        return (self.place / "taken").read_bytes() == b"" and self.process.poll() is None


@pytest.fixture
def listener() -> Iterator[Listener]:
    with tempfile.TemporaryDirectory(prefix="pw-", dir="/tmp") as place:
        Path(place).chmod(0o777)
        argv = [sys.executable, "-c", LISTEN.format(uid=THEIRS, place=place)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield Listener(Path(place), process)
            process.kill()


@pytest.fixture
def world() -> Iterator[World]:
    with lived_in() as world:
        yield world


def place(world: World, name: str) -> Path:
    return world.root.tmux_socket(parse_identity(f"scripted-{name}"))


def held_for(world: World, name: str, *says: str) -> dict[str, Any]:
    """Wait until the queue of a peer says all of this about why it stands."""

    def row() -> dict[str, Any] | None:
        (found,) = world.json("queue", name)["queues"]
        return found if all(text in (found["detail"] or "") for text in says) else None

    return until(row, 20, "a hold")


def test_no_session_is_started_in_its_place(world: World, listener: Listener) -> None:
    socket = place(world, "bob")
    listener.stand_at(socket)
    says = (str(socket), f"uid {THEIRS}", f"rm {socket}")
    sent = world.send("bob", "psst", "--wait", "0")
    held_for(world, "bob", *says)
    for words in (("stop", "bob"), ("remove", "bob", "--force")):
        refused(world.run(*words), 1, *says)
    assert f"rm {socket}" in world.run("doctor").stdout
    assert listener.was_told_nothing()
    socket.unlink()
    assert world.run("start", "bob").returncode == 0
    assert consumed(world, sent["message_id"])


def test_a_session_is_not_reached_through_it(world: World, listener: Listener) -> None:
    """Its own socket was exchanged: the server that starts then has no connection to the session yet."""
    socket = place(world, "alice")
    ended_and_exchanged(world, socket, listener)
    says = (str(socket), f"uid {THEIRS}", f"rm {socket}")
    sent = world.send("alice", "psst", "--wait", "0")
    held_for(world, "alice", *says)
    for verb in ("attach", "watch"):
        with at_a_terminal(world, verb, "alice") as screen:
            screen.shows(f"rm {socket}")
    assert listener.was_told_nothing()
    socket.unlink()
    assert consumed(world, sent["message_id"])


def test_a_session_is_ended_beside_it(world: World, listener: Listener) -> None:
    socket, tmux = place(world, "alice"), world.tmux("scripted-alice")
    ended_and_exchanged(world, socket, listener)
    assert world.run("stop", "alice").returncode == 0
    assert not tmux.is_alive()
    assert listener.was_told_nothing()


def ended_and_exchanged(world: World, socket: Path, listener: Listener) -> None:
    """Exchange the socket of a session while no server runs, and start one."""
    server = world.servers[-1]
    server.terminate()
    server.wait(20)
    socket.unlink()
    listener.stand_at(socket)
    world.serve()
