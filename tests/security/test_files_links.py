"""Links in the place of our directories and files: nothing where they lead is written, emptied, removed or opened."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.flags import Flag, Flags
from lifecycle.panelogs import PaneLogs
from tests.contract.bad_input import private_world
from tests.live.world import TOP, World, until
from tests.terminal import until as poll
from transport.clock import SystemClock
from transport.envelope import place_body
from transport.identity import Identity
from transport.logs import Logs
from transport.message import accept, check_draft
from transport.paths import Root, RootUnusable
from transport.tmux.ending import kill
from transport.tmux.server import ServerSpec
from transport.tmux.server import start as tmux_start

ALICE = Identity("scripted", "alice")
DIRECTORIES = ("peers", "run", "run/tmux", "run/prompts", "state", "state/canary", "logs", "logs/panes")
NOT_LINKED = {"config.toml"}
"""Read only, and the operator's to link wherever it is kept."""


@pytest.fixture
def outside() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pwo-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def taken(top: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a directory: kind, mode, owner, and content and time of files."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [top, *top.rglob("*")]:
        status = path.lstat()
        content = (path.read_bytes(), status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else ()
        found[str(path)] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, *content)
    return found


@pytest.mark.parametrize("kind", ["a copy", "nothing", "a file"])
@pytest.mark.parametrize("name", DIRECTORIES)
def test_a_link_in_the_place_of_a_directory_is_refused_before_anything_is_made(
    root: Root, outside: Path, name: str, kind: str
) -> None:
    path, target = root.home / name, outside / "x"
    path.mkdir(exist_ok=True)
    if kind == "a copy":
        shutil.copytree(path, target)
        (target / "precious").write_text("x")
    elif kind == "a file":
        target.write_text("x")
    shutil.rmtree(path)
    path.symlink_to(target)
    before = taken(outside)
    with pytest.raises(RootUnusable, match=str(path)):
        root.prepare()
    assert taken(outside) == before


def test_a_root_that_is_a_link_itself_is_somebodys_choice(root: Root, outside: Path) -> None:
    home = outside / "home"
    home.symlink_to(root.home)
    Root(home).prepare()


@pytest.mark.parametrize("size", [0, 10_000])
@pytest.mark.parametrize("suffix", ["", ".1"])
def test_a_pane_log_that_is_a_link_empties_nothing(root: Root, outside: Path, suffix: str, size: int) -> None:
    precious = outside / "precious"
    precious.write_bytes(b"x" * size)
    log = root.pane_log(ALICE)
    log.write_bytes(b"y" * 10_000)
    linked = log.with_name(log.name + suffix)
    linked.unlink(missing_ok=True)
    linked.symlink_to(precious)
    before = taken(outside)
    PaneLogs(root, rotate_bytes=5_000, budget_bytes=1, age_seconds=0).trim([ALICE], 0)
    PaneLogs(root, rotate_bytes=5_000, budget_bytes=1, age_seconds=0).trim([], 1e12)
    assert taken(outside) == before


def test_a_pane_log_that_is_a_pipe_holds_nobody_up(root: Root) -> None:
    log = root.pane_log(ALICE)
    log.write_bytes(b"y" * 10_000)
    os.mkfifo(log.with_name(f"{log.name}.1"))
    assert PaneLogs(root, rotate_bytes=5_000).rotate([ALICE]) == 1
    assert log.stat().st_size == 10_000


@pytest.mark.live
@pytest.mark.parametrize("kind", ["a file", "nothing"])
async def test_a_session_does_not_write_what_it_shows_through_a_link(root: Root, outside: Path, kind: str) -> None:
    log, target, shown = root.pane_log(ALICE), outside / "x", "for the log only"
    if kind == "a file":
        target.write_text("precious")
    log.symlink_to(target)
    before = taken(outside)
    argv = ("/bin/sh", "-c", f"sleep 0.1; echo {shown}; exec sleep 60")
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    spec = ServerSpec(root.tmux_socket(ALICE), "scripted-alice", argv, env, root.home, pane_log=log)
    started = await tmux_start(spec)
    try:
        await poll(lambda: log.is_file() and not log.is_symlink() and shown in log.read_text())
    finally:
        await kill(spec.socket, started.tmux, pane=started.pane)
    assert taken(outside) == before


@pytest.mark.parametrize("which", [".peerwake", ".peerwake/inbox"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_long_body_is_not_written_through_a_peers_link(root: Root, outside: Path, which: str, exists: bool) -> None:
    cwd = root.peers / "alice"
    (cwd / which).parent.mkdir(parents=True)
    (cwd / which).symlink_to(outside / "x")
    if exists:
        (outside / "x").mkdir()
    message = accept(check_draft("x" * 10_000), ALICE, ALICE, hops=0, now=0.0)
    before = taken(outside)
    with pytest.raises(OSError, match="symbolic link"):
        place_body(message, cwd / ".peerwake/inbox")
    assert taken(outside) == before


@pytest.mark.parametrize("flag", Flag)
@pytest.mark.parametrize("kind", ["a file", "nothing", "a directory"])
def test_a_flag_that_is_a_link_counts_and_is_replaced_or_removed_itself(
    root: Root, outside: Path, flag: Flag, kind: str
) -> None:
    path, target, flags = root.flag(ALICE, flag), outside / "x", Flags(root)
    if kind == "a file":
        target.write_text("x")
    elif kind == "a directory":
        target.mkdir()
    path.symlink_to(target)
    before = taken(outside)
    assert flags.is_set(ALICE, flag)
    flags.set(ALICE, flag, "why")
    assert not path.is_symlink()
    path.unlink()
    path.symlink_to(target)
    assert flags.clear(ALICE, flag)
    assert not os.path.lexists(path)
    assert taken(outside) == before


@pytest.mark.parametrize("kind", ["a file", "nothing"])
def test_a_log_that_is_a_link_is_not_written_and_fails_nothing(root: Root, outside: Path, kind: str) -> None:
    target = outside / "x"
    if kind == "a file":
        target.write_bytes(b"x" * 10_000)
    logs = Logs(root.logs, SystemClock(), max_bytes=5_000)
    logs.lifecycle.path.symlink_to(target)
    before = taken(outside)
    for _ in range(3):
        logs.lifecycle.write("x", a="b")
    assert taken(outside) == before


def start(world: World, *flags: str) -> subprocess.Popen[bytes]:
    """Start a server that writes what it says where no link leads."""
    argv = [sys.executable, "-m", "mcp_server", "serve", *flags]
    with (world.root.home / "server.said").open("ab") as said:
        server = subprocess.Popen(argv, env=world.env, cwd=TOP, stdout=said, stderr=said)
    world.servers.append(server)
    until(lambda: server.poll() is not None or world.server_pid() == server.pid, 30, "a server, or its refusal")
    return server


def exercise(world: World, name: str) -> None:
    """Do with a peer what writes files, as far as that is possible."""
    for words in (
        ("send", "alice", "x" * 10_000, "--wait", "10"),
        ("stop", "alice"),
        ("start", "alice"),
        ("new", "alice"),
        ("create", name, "--runtime", "scripted"),
        ("remove", name, "--purge", "--force"),
        ("verify", "--fix"),
    ):
        world.run(*words)


def files_of(root: Root) -> list[Path]:
    """Every file of the root that is ours: not those of the client, and no socket."""
    every = [path for path in root.home.rglob("*") if path.is_file() and not path.is_symlink()]
    skipped = (root.home / "home", root.peers / "alice/.peerwake/runtimes")
    return [path for path in every if path.name not in NOT_LINKED and not any(each in path.parents for each in skipped)]


GROUPS = {
    "logs": ("logs",),
    "registry": ("peers.json", "peers.lock"),
    "peer": ("peers/alice",),
    "secret": ("secret",),
    "spool": ("state/spool.db", "state/spool.db-wal", "state/spool.db-shm", "state/spool.lock", "state/spool.turn"),
    "locks": ("state/supervisor.lock", "state/scripted-alice.wake.lock", "state/scripted-alice.pane.lock", "run"),
    "records": ("state/scripted-alice", "state/canary", "state/operator-env.json"),
}


@pytest.mark.live
@pytest.mark.parametrize(("when", "leads"), [("before the start", 0), ("under a running server", 1)])
def test_links_in_the_place_of_all_files(outside: Path, when: str, leads: int) -> None:
    """Each group of files at once, every other link to a copy, the others to nothing; whatever is then refused,
    what they lead to stays as it is."""
    with private_world() as world:
        world.root.config.write_text("tcp = false\nsystemd_scope = false\n")
        world.create("alice")
        server = start(world)
        exercise(world, "first")
        for number, (group, beginnings) in enumerate(GROUPS.items()):
            if when == "before the start":
                world.run("stop", "alice")
                server.terminate()
                server.wait(30)
            elif server.poll() is not None:
                server = start(world)
            world.run("start", "alice")
            chosen = [
                path for path in files_of(world.root) if str(path.relative_to(world.root.home)).startswith(beginnings)
            ]
            chosen += [
                world.root.home / each for each in beginnings if "." in each and not (world.root.home / each).exists()
            ]
            kept: dict[Path, Path | None] = {}
            for index, path in enumerate(chosen):
                target = outside / f"{number}-{index}"
                kept[path] = path.rename(outside.parent / f"{outside.name}.{number}-{index}") if path.exists() else None
                if (index + number) % 2 == leads and kept[path] is not None:
                    shutil.copy2(str(kept[path]), target)
                path.symlink_to(target)
            before = taken(outside)
            if when == "before the start":
                server = start(world)
            exercise(world, f"p{number}")
            assert taken(outside) == before, group
            for path, former in kept.items():
                if path.is_symlink() or path.is_file():
                    path.unlink()
                if former is not None:
                    former.rename(path) if path.parent.is_dir() else former.unlink()
