"""Damaged files of one peer or of the registry under a running server: named, left alone, and nobody else harmed.

Checklist of issue 2: a corrupt registry, a corrupt profile, corrupt flag files; also session records and newer versions
of each. A corrupt database and the files that keep a server from starting are in test_bad_input_startup.py.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.bad_input import private_world, refused, stored, unchanged
from tests.live.control import Control
from tests.live.world import World, until
from transport.identity import Identity, parse_identity
from transport.process import run, terminate

pytestmark = pytest.mark.live

GARBAGE = b'\x00\xff{"half": \x1b[2J\n<<<<<<< HEAD\n\xc2\xb2\n' * 20
Spoil = Callable[[Path], None]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Alice is the one whose files are damaged, carol the one who must not notice."""
    with private_world(PEERWAKE_ATTEMPTS="2", PEERWAKE_BACKOFF_SECONDS="0.1") as world:
        for name in ("alice", "bob", "carol"):
            world.create(name)
        world.serve()
        yield world


@pytest.fixture(autouse=True)
def others_go_on(world: World) -> Iterator[None]:
    """After each test a message to carol arrives."""
    yield
    assert send(world, "carol")["status"] == "delivered"


def send(world: World, name: str, seconds: float = 30) -> dict[str, object]:
    with Control(world.root) as control:
        return control.send(name, f"to {name}", wait_seconds=seconds)


def code(world: World, name: str) -> tuple[str, str]:
    """Send and return the code and text of the refusal."""
    with Control(world.root) as control, unchanged(world):
        error = control.call("send", personality=name, message="x", wait_seconds=0)["error"]
        return error["code"], error["message"]


def garbage(path: Path) -> None:
    path.write_bytes(GARBAGE)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of_a_newer_version(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))


def twice(path: Path) -> None:
    document = json.loads(path.read_text())
    again = document["peers"][0] | {"description": "the same once more"}
    path.write_text(json.dumps(document | {"peers": [*document["peers"], again]}))


def a_list(path: Path) -> None:
    path.write_text("[1, 2, 3]")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def remove(path: Path) -> None:
    """Take away whatever stands there."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()


REGISTRIES: dict[str, tuple[Spoil, str]] = {
    "garbage": (garbage, "peerwake verify --fix"),
    "empty": (empty, "peerwake verify --fix"),
    "half": (half, "peerwake verify --fix"),
    "a list": (a_list, "peerwake verify --fix"),
    "each peer twice": (twice, "peerwake verify --fix"),
    "newer": (of_a_newer_version, "upgrade peerwake"),
    "a directory": (a_directory, "peerwake verify --fix"),
}


@pytest.mark.parametrize("case", REGISTRIES)
def test_a_registry_that_cannot_be_used(world: World, case: str) -> None:
    spoil, advice = REGISTRIES[case]
    path, kept = world.root.registry, world.root.registry.read_bytes()
    spoil(path)
    spoiled = path.read_bytes() if path.is_file() else None
    try:
        assert send(world, "alice")["status"] == "delivered"
        refused(world.run("create", "dora", "--runtime", "scripted"), 1, str(path), advice)
        verified = world.run("verify")
        assert verified.returncode == 1
        assert str(path) in verified.stdout
        assert advice in verified.stdout
        assert not (world.root.peers / "dora" / ".peerwake").exists()
        assert (path.read_bytes() if path.is_file() else None) == spoiled
    finally:
        remove(path)
        path.write_bytes(kept)


def test_a_corrupt_registry_is_rebuilt_from_the_profiles_and_kept_aside(world: World) -> None:
    names = [row["name"] for row in world.json("list")["peers"]]
    garbage(world.root.registry)
    fixed = world.json("verify", "--fix")
    assert fixed["problems"] == []
    aside = Path(fixed["rebuilt"]["kept_aside"])
    assert aside.read_bytes() == GARBAGE
    assert [row["name"] for row in world.json("list")["peers"]] == names
    assert world.run("verify").returncode == 0
    assert send(world, "alice")["status"] == "delivered"


def test_a_registry_that_is_gone_is_read_from_the_profiles(world: World) -> None:
    world.root.registry.unlink()
    assert send(world, "alice")["status"] == "delivered"
    verified = world.run("verify")
    assert (verified.returncode, "is missing" in verified.stdout) == (1, True)
    assert world.run("verify", "--fix").returncode == 0
    assert world.root.registry.exists()


PROFILES: dict[str, tuple[Spoil, str]] = {
    "garbage": (garbage, "profile.json"),
    "empty": (empty, "profile.json"),
    "half": (half, "profile.json"),
    "newer": (of_a_newer_version, "version 99"),
    "a list": (a_list, "profile.json"),
}


@pytest.mark.parametrize("case", PROFILES)
def test_a_profile_that_cannot_be_used_is_reported_and_never_overwritten(world: World, case: str) -> None:
    spoil, says = PROFILES[case]
    path = world.root.peers / "bob/.peerwake/profile.json"
    kept = path.read_bytes()
    spoil(path)
    spoiled = path.read_bytes()
    try:
        verified = world.run("verify")
        assert verified.returncode == 1
        assert str(path) in verified.stdout
        assert says in verified.stdout
        assert world.run("verify", "--fix").returncode == 1
        assert code(world, "bob")[0] == "unknown-peer"
        refused(world.run("create", "bob", "--runtime", "scripted"), 1 if case == "newer" else 4, "profile.json")
        assert path.read_bytes() == spoiled
    finally:
        path.write_bytes(kept)
    assert world.run("verify", "--fix").returncode == 0
    assert send(world, "bob")["status"] == "delivered"


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def make_directory(path: Path) -> None:
    path.mkdir()


ODD_FLAGS: dict[str, Spoil] = {"garbage": garbage, "empty": empty, "a directory": make_directory, "dangling": dangling}


@pytest.mark.parametrize("case", ODD_FLAGS)
@pytest.mark.parametrize(("flag", "refusal"), [("stopped", "stopped"), ("failed", "crash-looping")])
def test_a_flag_counts_whatever_is_in_it(world: World, flag: str, refusal: str, case: str) -> None:
    path = world.root.flag(Identity("scripted", "bob"), flag)
    ODD_FLAGS[case](path)
    try:
        found, text = code(world, "bob")
        assert (found, "peerwake start bob" in text) == (refusal, True)
        assert "\x1b" not in text
        refused(world.run("send", "bob", "x"), 4, "peerwake start bob")
        (row,) = [row for row in world.json("list")["peers"] if row["name"] == "bob"]
        assert row["runtimes"][0]["state"] == flag
        started = world.run("start", "bob")
        if case == "a directory":
            refused(started, 1, str(path))
        else:
            assert started.returncode == 0, started.stderr
            assert not os.path.lexists(path)
    finally:
        remove(path)
    assert send(world, "bob")["status"] == "delivered"


def test_a_record_of_deaths_that_cannot_be_read_keeps_nobody_from_dying_and_being_woken(world: World) -> None:
    deaths = world.root.flag(Identity("scripted", "bob"), "deaths")
    for spoil in (garbage, make_directory):
        remove(deaths)
        assert send(world, "bob")["status"] == "delivered"
        spoil(deaths)
        tmux = world.tmux("scripted-bob")
        terminate(tmux, 9)
        until(lambda: world.state("bob") == "asleep", 20, "the end of the session")
        assert send(world, "bob")["status"] == "delivered"
        assert world.tmux("scripted-bob") != tmux
    remove(deaths)


RECORDS: dict[str, Spoil] = {
    "garbage": garbage,
    "empty": empty,
    "half": half,
    "newer": of_a_newer_version,
    "a list": a_list,
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_session_record_that_cannot_be_read_is_unknown_and_starts_nothing(world: World, case: str) -> None:
    assert send(world, "alice")["status"] == "delivered"
    path = world.root.flag(Identity("scripted", "alice"), "session")
    kept, tmux = path.read_bytes(), world.tmux("scripted-alice")
    wakes = world.log("lifecycle").count("ev=wake identity=scripted-alice")
    RECORDS[case](path)
    spoiled = path.read_bytes()
    try:
        sent = send(world, "alice", 0.5)
        assert (sent["status"], sent["reason"]) == ("queued", "unknown")
        (row,) = [row for row in world.json("list")["peers"] if row["name"] == "alice"]
        assert row["runtimes"][0]["state"] == "blocked"
        assert str(path) in row["runtimes"][0]["detail"]
        assert path.read_bytes() == spoiled
        assert str(path) in world.run("doctor").stdout
    finally:
        path.write_bytes(kept)
    until(lambda: stored(world)[-1][3] == "consumed", 20, "the delivery")
    assert world.tmux("scripted-alice") == tmux
    assert world.log("lifecycle").count("ev=wake identity=scripted-alice") == wakes


def test_a_new_server_leaves_a_session_alone_whose_record_it_cannot_read(world: World) -> None:
    assert send(world, "alice")["status"] == "delivered"
    path, tmux = world.root.flag(Identity("scripted", "alice"), "session"), world.tmux("scripted-alice")
    kept = path.read_bytes()
    garbage(path)
    try:
        (server,) = [each for each in world.servers if each.poll() is None]
        server.terminate()
        assert server.wait(20) == 0
        world.serve()
        assert tmux.is_alive()
        assert f'identity=scripted-alice code=session-unreadable reason="{path}' in world.log("lifecycle"), world.log(
            "lifecycle"
        )[-900:]
        assert send(world, "alice", 0.5)["status"] == "queued"
        assert path.read_bytes() == GARBAGE
    finally:
        path.write_bytes(kept)
    until(lambda: stored(world)[-1][3] == "consumed", 20, "the delivery")
    assert world.tmux("scripted-alice") == tmux


def test_the_agents_of_these_tests_are_the_ones_that_were_started(world: World) -> None:
    for name in ("alice", "carol"):
        socket = world.root.tmux_socket(parse_identity(f"scripted-{name}"))
        done = run(["tmux", "-S", str(socket), "list-panes", "-a", "-F", "#{pane_dead}"], deadline=10)
        assert done.stdout.split() == ["0"]
