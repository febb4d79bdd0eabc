"""What a session needs and does not find: the message stays queued with the reason, others go on, mended it arrives.

Checklist of issue 2: a peer directory that is gone, a runtime binary that is missing or exits at once, tmux missing or
too old; also a launch.env, a command.toml and runtimes/*.toml that cannot be read.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.bad_input import private_world, refused, stored, unchanged
from tests.live.control import Control
from tests.live.world import World, until
from transport.identity import Identity

pytestmark = pytest.mark.live

PROGRAM = """
import json, os, re, sys
while True:
    print("peerwake: ready", flush=True)
    for line in sys.stdin:
        found = re.search(r'id="(m_[0-9a-z]{20})"', line)
        if found:
            with open(os.environ["PEERWAKE_TRANSCRIPT"], "a") as file:
                file.write(json.dumps({"received": found[1]}) + "\\n")
            print("peerwake: ready", flush=True)
"""


@dataclass(frozen=True)
class Trouble:
    """What is broken of a peer, what its messages say then, and how it is mended."""

    spoil: Callable[[World, Path], None]
    says: tuple[str, ...]
    mend: Callable[[World, Path], None]


def no_directory(world: World, cwd: Path) -> None:
    cwd.rename(world.root.home / cwd.name)


def directory_back(world: World, cwd: Path) -> None:
    (world.root.home / cwd.name).rename(cwd)


def file_for_directory(world: World, cwd: Path) -> None:
    no_directory(world, cwd)
    cwd.write_text("x")


def file_away(world: World, cwd: Path) -> None:
    cwd.unlink()
    directory_back(world, cwd)


def launch_env(text: str) -> Callable[[World, Path], None]:
    def write(world: World, cwd: Path) -> None:
        path = cwd / ".peerwake/runtimes/scripted/launch.env"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)

    return write


def open_launch_env(world: World, cwd: Path) -> None:
    launch_env("A=1\n")(world, cwd)
    (cwd / ".peerwake/runtimes/scripted/launch.env").chmod(0o666)


def no_launch_env(world: World, cwd: Path) -> None:
    (cwd / ".peerwake/runtimes/scripted/launch.env").unlink()


def boots(text: str) -> Callable[[World, Path], None]:
    def write(world: World, cwd: Path) -> None:
        (cwd / "scripted.json").write_text(text)

    return write


TROUBLES = {
    "gone": Trouble(no_directory, ("the directory of gone", "is not there", "restore it"), directory_back),
    "file": Trouble(file_for_directory, ("the directory of file", "is not there"), file_away),
    "badline": Trouble(launch_env("A=1\nthis is no variable\n"), ("launch.env:2", "NAME=value"), no_launch_env),
    "ours": Trouble(launch_env("PEER_IDENTITY=scripted-bob\n"), ("launch.env:1", "PEER_IDENTITY"), no_launch_env),
    "open": Trouble(open_launch_env, ("launch.env", "chmod 600"), no_launch_env),
    "exits": Trouble(boots('{"boot": {"exit": 3}}'), ("exited",), boots("[]")),
}
PROGRAMS = {
    "nothing": ("/nowhere/at/all", ("/nowhere/at/all", "not on the PATH", "launch.env")),
    "unnamed": ("no-such-program-anywhere", ("no-such-program-anywhere", "not on the PATH")),
    "noexec": ("{cwd}/noexec", ("noexec", "not on the PATH")),
    "false": ("/bin/false", ("ended at once",)),
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """One server; each trouble has a peer of its own, and fine has none."""
    quick = {"PEERWAKE_BACKOFF_SECONDS": "0.3", "PEERWAKE_BACKOFF_MAX_SECONDS": "0.3"}
    with private_world(**quick, PEERWAKE_ATTEMPTS="100", PEERWAKE_CRASH_COUNT="1000") as world:
        for name in (*TROUBLES, "fine"):
            world.create(name)
        for name, (program, _) in PROGRAMS.items():
            place = world.root.peers / name
            place.mkdir()
            (place / "noexec").write_text("#!/bin/sh\n")
            made = world.run("init", "--runtime", "command", "--", program.format(cwd=place), cwd=place)
            assert made.returncode == 0, made.stderr
        world.serve()
        yield world


@pytest.fixture(autouse=True)
def others_go_on(world: World) -> Iterator[None]:
    yield
    with Control(world.root) as control:
        assert control.send("fine", "still there?", wait_seconds=30)["status"] == "delivered"


def reasons(world: World, message_id: str) -> str:
    """Return the history of a message as an operator is shown it."""
    with Control(world.root) as control:
        return str(control.call("show", message_id=message_id)["result"]["events"])


def fails(world: World, name: str, says: tuple[str, ...]) -> str:
    """Send to a peer that cannot be woken and return the message's id when its history says why."""
    with Control(world.root) as control:
        sent = control.send(name, "kept", wait_seconds=0)
    assert sent["status"] == "queued"
    message_id = str(sent["message_id"])
    until(lambda: says[0] in reasons(world, message_id), 20, f"{says[0]!r} in the history")
    for text in says:
        assert text in reasons(world, message_id)
    assert world.depth(name) == 1
    assert says[0] in world.log("lifecycle")
    return message_id


@pytest.mark.parametrize("name", TROUBLES)
def test_a_peer_that_cannot_be_started_keeps_its_message_until_it_can(world: World, name: str) -> None:
    trouble, cwd = TROUBLES[name], world.root.peers / name
    trouble.spoil(world, cwd)
    try:
        message_id = fails(world, name, trouble.says)
    finally:
        trouble.mend(world, cwd)
    until(lambda: world.depth(name) == 0, 30, "the delivery")
    assert [row[3] for row in stored(world) if row[0] == message_id] == ["consumed"]
    assert len(world.prompts(name)) == 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_is_missing_or_ends_at_once_keeps_its_message_until_it_is_there(world: World, name: str) -> None:
    message_id = fails(world, name, PROGRAMS[name][1])
    place = world.root.peers / name
    (place / "program.py").write_text(PROGRAM)
    argv = f'argv = ["{sys.executable}", "{place / "program.py"}"]\n'
    (place / ".peerwake/runtimes/command/command.toml").write_text(argv)
    until(lambda: world.depth(name) == 0, 30, "the delivery")
    assert [row[3] for row in stored(world) if row[0] == message_id] == ["consumed"]


BROKEN_PROGRAMS = {
    "argv = 7\n": "argv",
    'argv = ["/bin/cat"]\nprogram = "x"\n': "program",
    "argv: [/bin/cat]\n": "TOML",
    "argv = []\n": "argv",
    "\xff": "command.toml",
}


def test_a_program_file_that_cannot_be_read_is_named(world: World) -> None:
    path = world.root.peers / "nothing/.peerwake/runtimes/command/command.toml"
    kept = path.read_bytes()
    assert world.run("stop", "nothing").returncode == 0
    for text, says in BROKEN_PROGRAMS.items():
        path.write_bytes(text.encode("latin-1"))
        assert world.run("start", "nothing").returncode == 0
        message_id = fails(world, "nothing", (str(path), says))
        assert world.run("stop", "nothing").returncode == 0
        with Control(world.root) as control:
            assert control.call("drop", message_id=message_id)["ok"]
    path.write_bytes(kept)
    assert world.run("start", "nothing").returncode == 0


def test_a_client_that_dies_again_and_again_is_given_up_until_it_is_started() -> None:
    with private_world(PEERWAKE_BACKOFF_SECONDS="0.05", PEERWAKE_ATTEMPTS="100") as world:
        cwd = world.create("alice")
        world.create("bob")
        boots('{"boot": {"exit": 3}}')(world, cwd)
        world.serve()
        with Control(world.root) as control:
            control.send("alice", "kept", wait_seconds=0)
            until(lambda: world.root.flag(Identity("scripted", "alice"), "failed").exists(), 30, "the verdict")
            with unchanged(world):
                error = control.call("send", personality="alice", message="another")["error"]
            assert error["code"] == "crash-looping"
            assert "dies again and again" in error["message"]
            assert "peerwake start alice" in error["message"]
            assert control.send("bob", "x", wait_seconds=30)["status"] == "delivered"
            assert world.log("lifecycle").count("identity=scripted-alice end=died") == 3
        boots("[]")(world, cwd)
        assert world.run("start", "alice").returncode == 0
        until(lambda: world.depth("alice") == 0, 30, "the delivery")
        assert len(world.prompts("alice")) == 1


RUNTIMES = {
    "words": ("this is no TOML", ("words.toml", "TOML")),
    "field": ('extends = "scripted"\nprompt = 7\n', ("field.toml", "prompt")),
    "noargv": ('reader = "envelopes"\ntranscript_path = "/tmp/x"\n', ("noargv.toml", "argv")),
    "regex": ('extends = "scripted"\n[screen]\nbusy = ["("]\n', ("regex.toml", "screen")),
    "base": ('extends = "nothing"\n', ("base.toml", "extends")),
    "scripted": ('argv = "one string"\n', ("scripted.toml", "argv")),
}


def test_runtime_files_that_cannot_be_used_are_named_and_change_nothing() -> None:
    with private_world() as world:
        world.root.runtimes.mkdir(mode=0o700)
        for name, (text, _) in RUNTIMES.items():
            (world.root.runtimes / f"{name}.toml").write_text(text)
            (world.root.runtimes / f"{name}.toml").chmod(0o600)
        world.create("alice")
        world.serve()
        assert world.send("alice", "x")["status"] == "delivered"
        log = [line for line in world.log("lifecycle").splitlines() if "ev=runtime-invalid" in line]
        doctor = world.run("doctor").stdout
        for _, says in RUNTIMES.values():
            (line,) = [line for line in log if says[0] in line]
            assert says[1] in line
            assert says[0] in doctor
        refused(world.run("create", "dora", "--runtime", "regex"), 4, "regex.toml", "screen")
        assert not (world.root.peers / "dora").exists()


def old_tmux(bin: Path) -> None:
    (bin / "tmux").write_text('#!/bin/sh\necho "tmux 2.9"\n')
    (bin / "tmux").chmod(0o755)


def no_tmux(bin: Path) -> None:
    assert not (bin / "tmux").exists()


def broken_tmux(bin: Path) -> None:
    (bin / "tmux").write_text("#!/nowhere/at/all\n")
    (bin / "tmux").chmod(0o755)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_tmux, ("tmux is not installed", "apt install tmux", "brew install tmux")),
        (old_tmux, ("tmux 2.9", "3.2 or newer", "upgrade")),
        (broken_tmux, ("tmux", "No such file")),
    ],
)
def test_tmux_missing_or_too_old_keeps_messages_until_there_is_one(
    spoil: Callable[[Path], None], says: tuple[str, ...]
) -> None:
    real = shutil.which("tmux")
    assert real is not None
    quick = {"PEERWAKE_BACKOFF_SECONDS": "0.2", "PEERWAKE_BACKOFF_MAX_SECONDS": "0.2", "PEERWAKE_ATTEMPTS": "100"}
    with private_world(**quick, PEERWAKE_CRASH_COUNT="1000") as world:
        bin = world.root.home / "bin"
        bin.mkdir()
        spoil(bin)
        world.extra["PATH"] = str(bin)
        world.create("alice")
        world.serve()
        message_id = fails(world, "alice", says)
        doctor = world.run("doctor")
        assert doctor.returncode == 2
        assert says[0] in doctor.stdout or "tmux" in doctor.stdout
        (bin / "tmux").unlink(missing_ok=True)
        (bin / "tmux").symlink_to(real)
        until(lambda: world.depth("alice") == 0, 30, "the delivery")
        assert stored(world)[0][0] == message_id
        assert len(world.prompts("alice")) == 1
