"""Files of the root and of a peer that lie: about whose process it is, what is to be deleted, who lives where."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lifecycle.belongings import forget, identities_of, state_of
from lifecycle.environment import LaunchEnvInvalid, launch_env_path, read_launch_env
from lifecycle.flags import Flag, Flags
from lifecycle.journal import Removal
from lifecycle.prompt.sources import places, read
from lifecycle.session import Session, Sessions, SessionUnreadable, dump, parse
from lifecycle.states import Mode
from tests.contract.bad_input import private_world
from tests.lifecycle.cutoffs import OLD, Stage
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, identify
from transport.relocate import Place
from transport.scan import scan
from transport.tmux.ending import kill

ALICE = Identity("scripted", "alice")
RECORD = Session(
    identity=ALICE,
    host="h",
    tenant_id="t",
    cwd="/",
    fence="f",
    woke_at=1.0,
    mode=Mode.FRESH,
    session_id="s",
    pane_id="%0",
    is_ready=True,
)


@pytest.fixture
def bystander() -> Iterator[ProcessId]:
    """A process of ours that is no session's, the leader of its group, with another in it."""
    argv = ["/bin/sh", "-c", "sleep 300 & wait"]
    with subprocess.Popen(argv, process_group=0) as process:
        found = identify(process.pid)
        assert found is not None
        yield found
        os.killpg(process.pid, signal.SIGKILL)


async def test_a_pane_whose_pid_is_somebody_elses_by_now_is_left_alone(root: Root, bystander: ProcessId) -> None:
    gone = ProcessId(1 << 22, "1")
    await kill(root.tmux_socket(ALICE), gone, pane=replace(bystander, started="1"))
    assert bystander.is_alive()


@pytest.mark.parametrize("pid", [0, -1, -(1 << 31)])
def test_a_record_names_processes_and_no_groups(pid: int) -> None:
    text = dump(replace(RECORD, pane=ProcessId(4711, "1")))
    assert parse(text).pane == ProcessId(4711, "1")
    with pytest.raises(SessionUnreadable, match="no process"):
        parse(text.replace("4711", str(pid)))


@pytest.mark.parametrize("value", [1e400, float("nan"), 10**400])
def test_a_record_has_a_time(value: float) -> None:
    with pytest.raises(SessionUnreadable):
        parse(json.dumps(json.loads(dump(RECORD)) | {"woke_at": value}))


@pytest.mark.live
def test_a_forged_record_makes_us_kill_nobody(bystander: ProcessId) -> None:
    """Wrong about the start, as after a reuse of the pid; on its own, and under a running server."""
    with private_world() as world:
        world.create("alice")
        forged = replace(RECORD, tmux=replace(bystander, started="1"), pane=replace(bystander, started="1"))
        for serve in (False, True):
            Sessions(world.root).save(forged)
            if serve:
                world.serve()
                Sessions(world.root).save(forged)
            for words in (
                ("stop", "alice"),
                ("start", "alice"),
                ("new", "alice"),
                ("send", "alice", "x", "--wait", "10"),
            ):
                world.run(*words)
                assert bystander.is_alive(), words
        assert world.prompts("alice")


def test_a_removal_deletes_no_directory_but_the_peers_own(root: Root, tmp_path: Path) -> None:
    stage = Stage(root.home, is_elsewhere=False)
    stage.build()
    for cwd in (tmp_path, root.home, root.peers, root.peers / "bob", root.peers / OLD / "..", Path("/nowhere")):
        (tmp_path / "precious").write_text("x")
        done = stage.remover.finish(Removal(Place(OLD, cwd), is_purged=True))
        assert any("left as it is" in note for note in done.notes), cwd
        assert (tmp_path / "precious").read_text() == "x"
        assert (root.peers / "bob").is_dir()
        assert root.spool.is_file()


HOSTILE_NAMES = (
    "scripted-..x.new",
    "scripted-alice.new\n.stopped",
    "scripted-alice\x1b[2J.session",
    "scripted-aliçe.session",
    "scripted-\u0430lice.session",
    "scripted-ALICE.session",
    "scripted--.session",
    "-alice.session",
    ".session",
    "scripted-.session",
    "scripted-alice .session",
    "scripted-" + "a" * 200 + ".session",
    os.fsdecode(b"scripted-\xff.session"),
    os.fsdecode(b"\xff\xfe-alice.stopped"),
)


def test_names_that_are_no_identities_are_nobodys_and_stay(root: Root) -> None:
    for name in HOSTILE_NAMES:
        (root.state / name).write_text("x")
        (root.run / "tmux" / name.replace(".session", ".sock")).write_text("x")
    mine = {f"scripted-alice.{flag}" for flag in Flag}
    for name in (*mine, "scripted-alice2.new", "scripted-alic.new", "scripted-alice-b.new"):
        (root.state / name).write_text("x")
    before = set(os.listdir(root.state))
    assert Sessions(root).identities() == []
    assert identities_of(root, "alice") == {ALICE}
    assert {found.path.name for found in state_of(root, "alice")} - set(HOSTILE_NAMES) == mine
    forget(root, "alice")
    assert before - set(os.listdir(root.state)) - set(HOSTILE_NAMES) == mine
    assert not Flags(root).is_set(ALICE, Flag.STOPPED)


def test_a_profile_that_says_it_lives_elsewhere_lives_where_it_is(root: Root) -> None:
    """It is not followed there, takes nobody's place, and is nobody else's."""
    stage = Stage(root.home, is_elsewhere=False)
    stage.build()
    path = root.peers / OLD / ".peerwake/profile.json"
    for cwd in ("/etc", str(root.home), str(root.peers / "bob"), "/nowhere/.."):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"cwd": cwd}))
        found = scan(root).peers
        assert found[OLD].cwd == root.peers / OLD, cwd
        assert found["bob"].cwd == root.peers / "bob"
        for name in ("bob", "../bob", "operator"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))
            assert OLD not in scan(root).peers, name
            assert scan(root).peers["bob"].cwd == root.peers / "bob"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"name": OLD}))


def launch_env(cwd: Path, text: str) -> Path:
    path = launch_env_path(cwd, "scripted")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "line",
    [
        *("PEERWAKE_HOME=/x", "PEERWAKE_CREDENTIAL=x", "PEER_IDENTITY=scripted-bob", "PEER_PERSONALITY=bob", "TMUX=x"),
        *("export PEERWAKE_HOME=/x", " PEERWAKE_HOME = /x", "\tPEER_IDENTITY=x", "TMUX_PANE=%1", "PEERWAKE_X=1\r"),
        *("A", "=x", "A B=c", "1A=x", "A-B=x", "A=x\0", "A;B=x", "\ufeffPEERWAKE_HOME=/x", "é=x", "A\0=x", "$(id)=x"),
    ],
)
def test_launch_env_sets_nothing_of_ours_and_nothing_odd(tmp_path: Path, line: str) -> None:
    with pytest.raises(LaunchEnvInvalid, match=":2: "):
        read_launch_env(launch_env(tmp_path, f"OK=1\n{line}\nMORE=2\n"))


def test_a_value_stays_a_value(tmp_path: Path) -> None:
    text = "A=x PEERWAKE_HOME=/x\nB='$(touch pwned) `id`'\nC=\"a'b\"\nD=\\nPEER_IDENTITY=x\nE=a\x0bPEERWAKE_HOME=/x\n"
    found = read_launch_env(launch_env(tmp_path, text + "F=a\u2028PEERWAKE_HOME=/x\nG=a\rPEERWAKE_HOME=/x"))
    assert set(found) == set("ABCDEFG")
    assert found["B"] == "$(touch pwned) `id`"


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "device", "huge"])
def test_special_files_in_the_place_of_a_peers_own_hold_nobody_up(root: Root, kind: str) -> None:
    """launch.env and what a prompt is made of: named as a flaw, never read from elsewhere, never waited for."""
    cwd = root.peers / "alice"
    ours = cwd / ".peerwake"
    (ours / "fragments").mkdir(parents=True)
    secret = root.home / "precious.md"
    secret.write_text("the secret")
    env = launch_env(cwd, "")
    for path in (ours / "PEER.md", ours / "more.md", ours / "fragments/x.md", env):
        path.unlink(missing_ok=True)
        match kind:
            case "fifo":
                os.mkfifo(path)
            case "directory":
                path.mkdir()
            case "link":
                path.symlink_to(secret)
            case "device":
                path.symlink_to("/dev/zero")
            case "huge":
                with path.open("wb") as file:
                    file.truncate(1 << 40)
    with pytest.raises(LaunchEnvInvalid, match=str(env)):
        read_launch_env(env)
    place = places(root, cwd)[1]
    sources = [*place.main(), *place.others()[0], *place.fragments()[0]]
    assert len(sources) == 3
    for source in sources:
        text, flaw = read(source)
        assert text == ""
        assert flaw is not None
