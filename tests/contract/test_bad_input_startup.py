"""What keeps a server from starting: it says which file or setting, what is wrong and what to do, and changes nothing.

Checklist of issue 2: a socket path too long, a root that is not writable (or not ours, or open to others, or a file),
a corrupt database, a database of a newer version; also config.toml and the secret.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.contract.bad_input import NOBODY, files, forbid, private_world, refused, under_permissions
from tests.contract.wires import bridge_wire
from tests.live.world import World

pytestmark = pytest.mark.live

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[World, Path]]:
    """A world without a server, and a copy of its root as it was."""
    with private_world() as world:
        world.create("alice")
        world.root.secret.write_bytes(os.urandom(32))
        world.root.secret.chmod(0o600)
        assert world.run("send", "alice", "kept").returncode == 3
        kept = world.root.home.with_name(f"{world.root.home.name}-kept")
        shutil.copytree(world.root.home, kept, symlinks=True)
        yield world, kept
        shutil.rmtree(kept)


@pytest.fixture
def world(made: tuple[World, Path]) -> Iterator[World]:
    """Alice, one message that waits for her, and no server; mended after each test."""
    world, kept = made
    yield world
    world.close()
    world.servers.clear()
    world.prefix = ()
    shutil.rmtree(world.root.home)
    shutil.copytree(kept, world.root.home, symlinks=True)


def contents(world: World) -> dict[str, bytes]:
    """Return what a refused start must leave as it is: all but logs, locks, and what is remembered of the operator."""
    return {
        name: data
        for name, data in files(world.root.home).items()
        if not name.startswith(("logs/", "state/operator-env")) and not name.endswith((".lock", "-shm", "-wal"))
    }


SETTINGS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "unknown key": (b"prot = 9000\n", ("prot", "there is no setting")),
    "not a number": (b'port = "high"\n', ("port", "'high'", "a whole number")),
    "out of range": (b"port = 70000\n", ("port", "70000", "65535")),
    "zero attempts": (b"attempts = 0\n", ("attempts", "between")),
    "neither true nor false": (b'standby = "perhaps"\n', ("standby", "perhaps", "true or false")),
    "a table": (b"[host]\nname = 1\n", ("host",)),
    "no TOML": (b"port: 9000\n", ("line 1",)),
    "not UTF-8": (b"host = '\xff'\n", ("config.toml",)),
    "not finite": (b"wait_seconds = nan\n", ("wait_seconds", "nan", "between")),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_cannot_be_used(world: World, case: str) -> None:
    text, says = SETTINGS[case]
    world.root.config.write_bytes(text)
    before = contents(world)
    refused(world.run("send", "alice", "x"), 1, str(world.root.config), *says)
    if case in ("unknown key", "no TOML"):
        refused(world.run("serve"), 1, str(world.root.config), *says)
        doctor = world.run("doctor")
        assert doctor.returncode == 2
        assert says[0] in doctor.stdout
    assert contents(world) == before


def test_a_variable_that_cannot_be_used_is_named(world: World) -> None:
    before = contents(world)
    env = {"PEERWAKE_ATTEMPTS": "many"}
    refused(world.run("send", "alice", "x", env=env), 1, "PEERWAKE_ATTEMPTS", "'many'", "whole number")
    refused(world.run("serve", env=env), 1, "PEERWAKE_ATTEMPTS", "'many'", "whole number")
    assert contents(world) == before


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, it only stands where one should be\n" * 99)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1024)


def half_a_header(path: Path) -> None:
    os.truncate(path, 50)


def damaged(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 + 8)
        file.write(os.urandom(3000))


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE messages (id)")


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))
    path.symlink_to("elsewhere.db")


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DATABASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "garbage": (garbage, "not an SQLite database"),
    "truncated": (truncated, "cannot be used"),
    "half a header": (half_a_header, "not an SQLite database"),
    "damaged": (damaged, "cannot be used"),
    "newer": (newer, "version 99"),
    "of another program": (of_another_program, "another program"),
    "a link": (a_link, "symbolic link"),
    "a directory": (a_directory, "directory"),
}


@pytest.mark.parametrize("case", DATABASES)
def test_a_database_that_cannot_be_used_is_left_alone(world: World, case: str) -> None:
    spoil, says = DATABASES[case]
    spoil(world.root.spool)
    before = contents(world)
    refused(world.run("serve"), 1, str(world.root.spool), says)
    assert not world.root.server_socket.exists()
    if case != "damaged":
        refused(world.run("send", "alice", "x"), 1, str(world.root.spool), says)
    assert contents(world) == before
    assert "Traceback" not in world.log("lifecycle")


def test_a_damaged_database_says_how_to_go_on_and_that_works(world: World) -> None:
    garbage(world.root.spool)
    refused(world.run("send", "alice", "x"), 1, "move spool.db", "an empty spool")
    assert "spool" in world.run("doctor").stdout
    for name in ("spool.db", "spool.db-wal", "spool.db-shm"):
        if (world.root.state / name).exists():
            (world.root.state / name).rename(world.root.home / name)
    world.serve()
    assert world.send("alice", "again")["status"] == "delivered"


def wrong_size(path: Path) -> None:
    path.write_bytes(b"short")


def open_to_others(path: Path) -> None:
    path.chmod(0o644)


def moved_behind_a_link(path: Path) -> None:
    path.rename(path.with_name("key"))
    path.symlink_to("key")


SECRETS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "wrong size": (wrong_size, ("5 bytes", "32", "move it away")),
    "open to others": (open_to_others, ("open to other users", "chmod 600")),
    "a link": (moved_behind_a_link, ("symlink",)),
    "a directory": (a_directory, ("secret",)),
}


@pytest.mark.parametrize("case", SECRETS)
def test_a_secret_that_cannot_be_trusted_is_left_alone(world: World, case: str) -> None:
    spoil, says = SECRETS[case]
    spoil(world.root.secret)
    before = contents(world)
    refused(world.run("serve"), 1, str(world.root.secret), *says)
    refused(world.run("mcp-config", "alice", "--credential"), 1, str(world.root.secret), *says)
    assert contents(world) == before


@needs_root
def test_somebody_elses_secret_is_refused(world: World) -> None:
    os.chown(world.root.secret, NOBODY, NOBODY)
    refused(world.run("serve"), 1, str(world.root.secret), f"uid {NOBODY}", "chown")


def too_long(home: Path) -> tuple[Path, str]:
    return home / ("a" * 90), "PEERWAKE_HOME"


def not_writable(home: Path) -> tuple[Path, str]:
    (home / "closed").mkdir()
    forbid(home / "closed", 0o555)
    return home / "closed" / "root", "PEERWAKE_HOME"


def below_a_file(home: Path) -> tuple[Path, str]:
    (home / "file").write_text("x")
    return home / "file" / "root", "PEERWAKE_HOME"


def a_file(home: Path) -> tuple[Path, str]:
    (home / "file").write_text("x")
    return home / "file", "PEERWAKE_HOME"


def wide_open(home: Path) -> tuple[Path, str]:
    (home / "wide").mkdir()
    (home / "wide").chmod(0o755)
    return home / "wide", "chmod 700"


def dangling(home: Path) -> tuple[Path, str]:
    (home / "link").symlink_to(home / "nowhere" / "at" / "all")
    return home / "link", "PEERWAKE_HOME"


ROOTS = (too_long, not_writable, below_a_file, a_file, wide_open, dangling)


@pytest.mark.parametrize("make", ROOTS)
def test_a_root_that_cannot_be_used_is_named_by_every_command(
    world: World, make: Callable[..., tuple[Path, str]]
) -> None:
    world.prefix = under_permissions()
    home, says = make(world.root.home)
    env = {"PEERWAKE_HOME": str(home)}
    before = files(world.root.home)
    refused(world.run("serve", env=env), 1, str(home), says)
    refused(world.run("create", "bob", "--runtime", "scripted", env=env), 1, str(home))
    assert world.run("send", "alice", "x", env=env).returncode in (1, 4)
    doctor = world.run("doctor", env=env)
    assert doctor.returncode in (1, 2), doctor.stdout
    assert str(home) in doctor.stdout
    assert files(world.root.home) == before


def test_a_name_that_makes_a_socket_path_too_long_is_refused_before_the_peer_is_made(world: World) -> None:
    home = world.root.home / ("a" * (59 - len(str(world.root.home))))
    env = {"PEERWAKE_HOME": str(home)}
    assert world.run("create", "alice", "--runtime", "scripted", env=env).returncode == 0
    before = files(home)
    made = world.run("create", "a" * 32, "--runtime", "scripted", env=env)
    refused(made, 1, "a" * 32, "100 bytes", "PEERWAKE_HOME", "shorter")
    assert {name for name in files(home) if "a" * 32 in name} == set()
    assert {name: data for name, data in files(home).items() if name in before} == before


def test_a_server_in_the_background_names_the_root_too(world: World) -> None:
    home, says = too_long(world.root.home)
    refused(world.run("serve", "--background", env={"PEERWAKE_HOME": str(home)}), 1, str(home), says)


def test_the_bridge_names_a_root_whose_server_cannot_start(world: World) -> None:
    home = world.root.home / ("a" * 90)
    start = shutil.which("false") or "/bin/false"
    with bridge_wire(world, None, "--home", str(home), "--reconnect-seconds", "1", "--", start) as stdio:
        error = stdio.call("list_peers", {})["error"]
    assert str(home) in error["message"]
    assert "peerwake serve" in error["message"]


@needs_root
def test_somebody_elses_root_is_refused(world: World) -> None:
    home = world.root.home / "theirs"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    for words in (("serve",), ("create", "bob", "--runtime", "scripted")):
        refused(world.run(*words, env={"PEERWAKE_HOME": str(home)}), 1, str(home), f"uid {NOBODY}", "PEERWAKE_HOME")


def test_a_root_that_was_closed_meanwhile_is_refused_and_nothing_is_half_made(world: World) -> None:
    world.prefix = under_permissions()
    before = contents(world)
    mode = world.root.state.stat().st_mode
    forbid(world.root.state, 0o500)
    if os.geteuid() == 0:
        os.chown(world.root.state, 0, 0)
    try:
        refused(world.run("send", "alice", "x"), 1, str(world.root.state), "not writable", "chmod")
        refused(world.run("serve"), 1, str(world.root.state), "not writable", "chmod")
    finally:
        world.root.state.chmod(mode)
    assert contents(world) == before
    assert world.run("send", "alice", "x").returncode == 3
