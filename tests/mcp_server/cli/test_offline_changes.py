"""`remove` and `rename` where no server runs: the same rules, under the locks a server would hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from lifecycle.journal import Journal, Removal, Renaming
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from tests.mcp_server.cli.conftest import Run
from transport.create import NewPeer, create
from transport.identity import Identity
from transport.paths import Root
from transport.process import identify
from transport.profile import Profile
from transport.registry import Registry
from transport.relocate import Place

ALICE = Identity("claude", "alice")


@pytest.fixture
def alice(root: Root) -> Profile:
    create(Registry(root), NewPeer(runtimes=("scripted",), name="bob"))
    return create(Registry(root), NewPeer(runtimes=("claude", "codex"), name="alice"))


def names(root: Root) -> tuple[str, ...]:
    return Registry(root).names()


def test_a_peer_is_renamed_with_its_queue(peerwake: Run, root: Root, alice: Profile) -> None:
    peerwake("send", "alice", "hello")
    done = peerwake("rename", "alice", "alicia")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "alice is now alicia; senders that use alice are refused",
        "  1 message moved with it",
        f"  its directory is now {root.peers / 'alicia'}",
    ]
    refused = peerwake("send", "alice", "hello")
    assert (refused.returncode, "did you mean alicia?" in refused.stderr) == (4, True)
    (queue,) = json.loads(peerwake("queue", "alicia", "--json").stdout)["queues"][:1]
    assert (queue["identity"], queue["depth"]) == ("claude-alicia", 1)
    assert peerwake("verify").returncode == 0


def test_a_peer_is_removed_and_its_files_stay(peerwake: Run, root: Root) -> None:
    assert peerwake("create", "alice", "--runtime", "claude").returncode == 0
    done = peerwake("remove", "alice")
    assert done.returncode == 0, done.stderr
    cwd = root.peers / "alice"
    assert done.stdout.splitlines() == [
        f"alice is removed; its directory {cwd} stays as it is",
        f"  {cwd / '.mcp.json'}: our entries taken out",
        f"  {cwd / '.claude/settings.json'}: our entries taken out",
    ]
    assert peerwake("verify").returncode == 0
    assert peerwake("remove", "alice").returncode == 4


def test_messages_that_wait_are_given_up_with_force_only(peerwake: Run, root: Root, alice: Profile) -> None:
    sent = json.loads(peerwake("send", "alice", "hello", "--from", "bob", "--json").stdout)
    refused = peerwake("remove", "alice", "--json")
    assert refused.returncode == 4
    assert json.loads(refused.stdout)["error"]["code"] == "messages-waiting"
    done = json.loads(peerwake("remove", "alice", "--force", "--json").stdout)
    assert done["dead_letters"] == [sent["message_id"]]
    assert {"host", "tenant_id", "name", "cwd", "purged", "withdrawn", "notes"} <= done.keys()
    (waiting,) = json.loads(peerwake("queue", "bob", "--json").stdout)["queues"]
    assert waiting["depth"] == 1


def test_purge_deletes_what_was_made_for_the_peer(peerwake: Run, root: Root, alice: Profile, tmp_path: Path) -> None:
    assert peerwake("remove", "alice", "--purge").stdout.endswith("was deleted with it\n")
    assert not alice.cwd.exists()
    own = tmp_path / "work"
    own.mkdir()
    assert peerwake("init", "--name", "carol", "--runtime", "scripted", cwd=own).returncode == 0
    refused = peerwake("remove", "carol", "--purge")
    assert (refused.returncode, "repeat without --purge" in refused.stderr) == (4, True)
    assert names(root) == ("bob", "carol")
    assert peerwake("remove", "carol").returncode == 0
    assert own.is_dir() and not os.path.lexists(root.peers / "carol")


@pytest.mark.parametrize("command", [("remove", "alice", "--force", "--purge"), ("rename", "alice", "alicia")])
def test_who_lives_below_is_named_and_kept(peerwake: Run, root: Root, alice: Profile, command: tuple[str, ...]) -> None:
    (alice.cwd / "carol").mkdir()
    carol = create(Registry(root), NewPeer(runtimes=("scripted",), cwd=alice.cwd / "carol"))
    refused = peerwake(*command, "--json")
    error = json.loads(refused.stdout)["error"]
    assert (refused.returncode, error["code"]) == (4, "peers-below")
    assert error["message"].startswith(f"carol lives below {alice.cwd}, ")
    assert names(root) == ("alice", "bob", "carol") and carol.path.exists()


@pytest.mark.parametrize("command", [("remove", "alice", "--force"), ("rename", "alice", "alicia")])
def test_inside_a_session_both_are_refused(peerwake: Run, root: Root, alice: Profile, command: tuple[str, ...]) -> None:
    process = identify(os.getpid())
    session = Session(Identity("scripted", "bob"), "here", "me", "/", "f", 0.0, Mode.FRESH, "id", tmux=process)
    Sessions(root).save(session)
    refused = peerwake(*command)
    assert refused.returncode == 4
    assert "scripted-bob may not do it" in refused.stderr
    assert names(root) == ("alice", "bob")


@pytest.mark.parametrize("command", [("remove", "alice", "--force"), ("rename", "alice", "alicia")])
def test_a_session_that_outlived_its_server_is_not_ended_here(
    peerwake: Run, root: Root, alice: Profile, command: tuple[str, ...]
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = identify(process.pid)
        Sessions(root).save(Session(ALICE, "here", "me", "/", "f", 0.0, Mode.FRESH, "id", tmux=found))
        refused = peerwake(*command)
        process.kill()
    assert refused.returncode == 4
    assert "alice is live (claude-alice)" in refused.stderr
    assert names(root) == ("alice", "bob")
    assert Journal(root).load() is None
    assert not root.flag(ALICE, "stopped").exists()


@pytest.mark.parametrize("command", [("remove", "alice"), ("rename", "alice", "alicia")])
def test_a_server_that_does_not_answer_keeps_its_root(
    peerwake: Run, root: Root, alice: Profile, command: tuple[str, ...]
) -> None:
    with FileLock(root.supervisor_lock):
        refused = peerwake(*command)
    assert refused.returncode == 6
    assert "nothing was changed" in refused.stderr
    assert names(root) == ("alice", "bob")


@pytest.mark.parametrize("repeat", [("rename", "alice", "alicia"), ("verify", "--fix"), ("remove", "bob")])
def test_a_rename_that_was_cut_off_is_told_of_and_finished(
    peerwake: Run, root: Root, alice: Profile, repeat: tuple[str, ...]
) -> None:
    change = Renaming(Place("alice", alice.cwd), Place("alicia", root.peers / "alicia"))
    Journal(root).write(change)
    alice.cwd.replace(change.after.cwd)
    told = peerwake("verify")
    assert told.returncode == 1
    assert "renaming alice to alicia was cut off" in told.stdout
    assert "renaming alice to alicia was cut off" in peerwake("doctor").stdout
    done = peerwake(*repeat)
    assert done.returncode == 0, done.stderr
    assert "alicia" in names(root) and "alice" not in names(root)
    assert peerwake("verify").returncode == 0


def test_a_removal_that_was_cut_off_is_finished_by_repeating_it(peerwake: Run, root: Root, alice: Profile) -> None:
    Journal(root).write(Removal(Place("alice", alice.cwd)))
    Registry(root).remove("alice")
    done = peerwake("remove", "alice")
    assert done.returncode == 0, done.stderr
    assert Journal(root).load() is None


@pytest.mark.parametrize("command", [("remove", "bob"), ("verify", "--fix")])
def test_a_removal_that_was_cut_off_leaves_the_next_peer_of_the_name(
    peerwake: Run, root: Root, alice: Profile, command: tuple[str, ...]
) -> None:
    assert peerwake("send", "alice", "hello").returncode == 3
    Journal(root).write(Removal(Place("alice", alice.cwd), True, "2020-01-01T00:00:00.000+00:00"))
    done = peerwake(*command)
    assert done.returncode == 0, done.stderr
    assert Journal(root).load() is None
    assert "alice" in names(root) and alice.path.exists()
    (queue,) = json.loads(peerwake("queue", "alice", "--json").stdout)["queues"][:1]
    assert queue["depth"] == 1


def test_no_peer_is_made_of_a_name_whose_removal_is_not_finished(peerwake: Run, root: Root, alice: Profile) -> None:
    Journal(root).write(Removal(Place("alice", alice.cwd), True, alice.created_at))
    (alice.cwd / "old.txt").write_text("old")
    Registry(root).remove("alice")
    refused = peerwake("create", "alice", "--runtime", "scripted", "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (4, "removal-unfinished")
    assert "repeat that first: peerwake remove alice" in refused.stdout
    assert names(root) == ("bob",)
    assert peerwake("create", "carol", "--runtime", "scripted").returncode == 0
    assert peerwake("remove", "alice").returncode == 0
    assert peerwake("create", "alice", "--runtime", "scripted").returncode == 0
    assert not (alice.cwd / "old.txt").exists()


@pytest.mark.parametrize("name", ["alice", "alicia"])
def test_no_peer_is_made_of_a_name_whose_rename_is_not_finished(
    peerwake: Run, root: Root, alice: Profile, tmp_path: Path, name: str
) -> None:
    change = Renaming(Place("alice", alice.cwd), Place("alicia", root.peers / "alicia"))
    Registry(root).rename(change.before, change.after)
    Journal(root).write(change)
    own = tmp_path / name
    own.mkdir()
    refused = peerwake("init", "--runtime", "scripted", cwd=own)
    assert refused.returncode == 4
    assert "renaming alice to alicia is not finished; repeat that first: peerwake rename alice alicia" in refused.stderr
    assert names(root) == ("alicia", "bob")
    Journal(root).path.write_text("{")
    assert peerwake("init", "--name", "carol", "--runtime", "scripted", cwd=own).returncode == 0


def test_the_root_may_be_reached_through_a_link(peerwake: Run, root: Root, alice: Profile) -> None:
    link = root.home / "l"
    link.symlink_to(root.home)
    done = peerwake("rename", "alice", "alicia", PEERWAKE_HOME=str(link))
    assert done.returncode == 0, done.stderr
    assert (root.peers / "alicia").is_dir()
    assert peerwake("verify").returncode == 0


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("remove",), 2),
        (("rename", "alice"), 2),
        (("remove", "alise"), 4),
        (("rename", "alise", "x"), 4),
        (("rename", "alice", "Alicia"), 4),
        (("rename", "alice", "operator"), 4),
        (("rename", "alice", "bob"), 4),
        (("rename", "alice", "alice"), 4),
        (("remove", "-h"), 0),
        (("rename", "-h"), 0),
    ],
)
def test_what_cannot_be_changes_nothing(
    peerwake: Run, root: Root, alice: Profile, argv: tuple[str, ...], code: int
) -> None:
    before = root.registry.read_bytes()
    assert peerwake(*argv).returncode == code
    assert root.registry.read_bytes() == before
