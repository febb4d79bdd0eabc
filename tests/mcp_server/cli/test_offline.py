"""The command where no server runs: real registry, real spool, real ancestry."""

import json
import os
from pathlib import Path

import pytest

from lifecycle.flags import Flag, Flags
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from mcp_server.serve.credentials import load_credentials
from tests.mcp_server.cli.conftest import Run
from transport.clock import SystemClock
from transport.create import NewPeer, create
from transport.identity import OPERATOR, Identity
from transport.message import accept, check_draft
from transport.paths import Root
from transport.process import identify
from transport.profile import Profile
from transport.registry import Registry
from transport.spool.store import SpoolStore

ALICE = Identity("claude", "alice")
BOB = Identity("scripted", "bob")


@pytest.fixture
def alice(root: Root) -> Profile:
    return create(Registry(root), NewPeer(runtimes=("claude", "codex"), name="alice"))


@pytest.fixture
def bob(root: Root) -> Profile:
    return create(Registry(root), NewPeer(runtimes=("scripted",), name="bob"))


def senders(root: Root, recipient: Identity) -> list[str]:
    """The senders of what waits for an identity, in order."""
    with SpoolStore(root.spool) as store:
        found = []
        while lease := store.lease(recipient, "test", SystemClock().wall()):
            found.append(str(lease.message.sender))
            store.consume(lease.message.id, "test", SystemClock().wall())
        return found


def run_inside(root: Root, identity: Identity) -> None:
    """Record a session of `identity` whose tmux server is this very process: what it starts is inside."""
    process = identify(os.getpid())
    session = Session(identity, "here", "me", "/", "fence", 0.0, Mode.FRESH, "id", tmux=process, is_ready=True)
    Sessions(root).save(session)


def test_send_without_a_server_spools_and_says_so(peerwake: Run, root: Root, bob: Profile) -> None:
    done = peerwake("send", "bob", "hello\x07", "--json")
    assert done.returncode == 3
    assert "no server runs" in done.stderr
    assert "waits in the spool" in done.stderr
    shown = json.loads(done.stdout)
    assert shown["status"] == "queued"
    assert shown["reason"] == "no-supervisor"
    assert (shown["personality"], shown["runtime"]) == ("bob", "scripted")
    assert (shown["queue_depth"], shown["removed_controls"], shown["duplicate"]) == (1, 1, False)
    with SpoolStore(root.spool) as store:
        record = store.message(shown["message_id"])
    assert record is not None
    assert (record.message.body, str(record.message.sender)) == ("hello", "cli-operator")


def test_the_same_key_is_one_message(peerwake: Run, root: Root, bob: Profile) -> None:
    first = json.loads(peerwake("send", "bob", "one", "--key", "k", "--json").stdout)
    second = json.loads(peerwake("send", "bob", "one", "--key", "k", "--json").stdout)
    assert second["message_id"] == first["message_id"]
    assert second["duplicate"] is True
    assert senders(root, BOB) == ["cli-operator"]


@pytest.mark.parametrize(
    ("argv", "code", "problem"),
    [
        (["alicia", "hi"], 4, "there is no peer 'alicia'; did you mean alice?"),
        (["ALICE", "hi"], 4, "is not a peer's name"),
        (["alice", "hi", "--runtime", "scripted"], 4, "does not declare the runtime 'scripted'"),
        (["alice", ""], 4, "message: it is empty"),
        (["alice", "\x01\x02"], 4, "only control characters"),
        (["alice", "x", "--topic", "t" * 201], 4, "topic: 201 characters"),
        (["alice", "x", "--attach", "missing"], 4, "attachments"),
        (["alice", "x", "--attach", "/"], 4, "is a directory"),
        (["alice", "x", "--reply-to", "nonsense"], 4, "reply_to"),
        (["alice", "x", "--from", "nobody"], 4, "there is no peer 'nobody'"),
        (["alice", "x", "--from", "alice"], 4, "you are alice"),
        (["alice", "x", "--from", ""], 4, "--from: it is empty"),
        (["alice", "x", "--runtime", ""], 4, "--runtime: it is empty"),
        (["alice", "x", "--reply-to", ""], 4, "--reply-to: it is empty"),
        (["alice", "x", "--key", ""], 4, "--key: it is empty"),
    ],
)
def test_refusals_store_nothing(peerwake: Run, root: Root, alice: Profile, argv, code, problem) -> None:
    done = peerwake("send", *argv)
    assert done.returncode == code
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1
    assert not root.spool.exists()


@pytest.mark.parametrize(("flag", "code"), [(Flag.STOPPED, "stopped"), (Flag.FAILED, "crash-looping")])
def test_a_peer_that_must_not_be_woken_gets_nothing(peerwake: Run, root: Root, bob: Profile, flag, code) -> None:
    Flags(root).set(BOB, flag, "why")
    done = peerwake("send", "bob", "hi", "--json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["error"]["code"] == code
    assert not root.spool.exists()


def test_what_was_accepted_is_not_refused_when_it_is_repeated(peerwake: Run, root: Root, bob: Profile) -> None:
    first = json.loads(peerwake("send", "bob", "hi", "--key", "k", "--json").stdout)
    Flags(root).set(BOB, Flag.STOPPED)
    again = peerwake("send", "bob", "hi", "--key", "k", "--json")
    assert again.returncode == 3
    shown = json.loads(again.stdout)
    assert (shown["message_id"], shown["duplicate"]) == (first["message_id"], True)
    assert peerwake("send", "bob", "hi", "--key", "another").returncode == 4
    with SpoolStore(root.spool) as store:
        assert store.waiting() == {BOB: 1}
        store.bury_all("bob", "bob was removed", SystemClock().wall())
    given_up = peerwake("send", "bob", "hi", "--key", "k", "--json")
    assert given_up.returncode == 7
    assert json.loads(given_up.stdout)["error"]["code"] == "dead-letter"


def test_the_operator_may_send_as_anybody(peerwake: Run, root: Root, alice: Profile, bob: Profile) -> None:
    assert peerwake("send", "bob", "hi", "--from", "alice").returncode == 3
    assert senders(root, BOB) == ["claude-alice"]


def test_the_operator_names_a_sender_as_with_a_server(peerwake: Run, root: Root, alice: Profile, bob: Profile) -> None:
    create(Registry(root), NewPeer(runtimes=("scripted",), name="claude-bob"))
    for claimed in ("codex-alice", "claude-bob"):
        assert peerwake("send", "bob", "hi", "--from", claimed).returncode == 3
    assert senders(root, BOB) == ["codex-alice", "scripted-claude-bob"]
    for claimed, code in (("nobody", "unknown-peer"), ("scripted-alice", "unknown-peer"), ("Al", "invalid")):
        done = peerwake("send", "bob", "hi", "--from", claimed, "--json")
        assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (4, code)


def test_whoever_stands_in_a_peers_directory_sends_as_that_peer(peerwake: Run, root: Root, alice, bob) -> None:
    below = alice.cwd / "src"
    below.mkdir()
    assert peerwake("send", "bob", "hi", cwd=below).returncode == 3
    assert peerwake("send", "alice", "hi", cwd=below).returncode == 4
    assert senders(root, BOB) == ["claude-alice"]


def test_a_process_inside_a_session_is_that_peer_whatever_it_says(peerwake: Run, root: Root, alice, bob) -> None:
    run_inside(root, ALICE)
    forged = peerwake("send", "bob", "hi", "--from", "bob", PEER_IDENTITY="scripted-bob", cwd=bob.cwd)
    assert forged.returncode == 4
    assert "you are claude-alice and cannot send as 'bob'" in forged.stderr
    assert peerwake("send", "bob", "hi", cwd=bob.cwd).returncode == 3
    assert peerwake("send", "bob", "hi", "--from", "alice").returncode == 3
    assert senders(root, BOB) == ["claude-alice", "claude-alice"]


def test_a_session_that_is_over_binds_nobody(peerwake: Run, root: Root, alice, bob) -> None:
    process = identify(os.getpid())
    assert process is not None
    gone = type(process)(process.pid, "another start time")
    Sessions(root).save(Session(ALICE, "here", "me", "/", "fence", 0.0, Mode.FRESH, "id", tmux=gone))
    peerwake("send", "bob", "hi")
    assert senders(root, BOB) == ["cli-operator"]


def test_the_environment_of_a_session_binds_its_bearer(peerwake: Run, root: Root, alice, bob) -> None:
    assert peerwake("send", "bob", "hi", "--from", "bob", PEER_IDENTITY="claude-alice").returncode == 4
    peerwake("send", "bob", "hi", PEER_IDENTITY="claude-alice")
    assert peerwake("send", "bob", "hi", PEER_IDENTITY="claude-gone").returncode == 4
    assert senders(root, BOB) == ["claude-alice"]


def test_a_credential_names_its_bearer_and_a_forged_one_nobody(peerwake: Run, root: Root, alice, bob) -> None:
    credentials = load_credentials(root.secret)
    peerwake("send", "bob", "hi", PEERWAKE_CREDENTIAL=credentials.credential_for(ALICE))
    assert peerwake("send", "bob", "hi", PEERWAKE_CREDENTIAL="pw1.claude-alice.AAAA").returncode == 4
    run_inside(root, ALICE)
    other = credentials.credential_for(BOB)
    assert peerwake("send", "bob", "hi", PEERWAKE_CREDENTIAL=other).returncode == 4
    assert senders(root, BOB) == ["claude-alice"]


def test_list_tells_what_the_files_tell(peerwake: Run, root: Root, alice, bob) -> None:
    run_inside(root, ALICE)
    Flags(root).set(BOB, Flag.STOPPED)
    done = peerwake("list", "--json")
    assert done.returncode == 0
    peers = {peer["name"]: peer for peer in json.loads(done.stdout)["peers"]}
    states = {f"{name}/{one['runtime']}": one["state"] for name, peer in peers.items() for one in peer["runtimes"]}
    assert states == {"alice/claude": "live", "alice/codex": "asleep", "bob/scripted": "stopped"}
    assert all(peer["host"] and peer["tenant_id"] for peer in peers.values())
    live = json.loads(peerwake("list", "--live", "--json").stdout)["peers"]
    assert [peer["name"] for peer in live] == ["alice"]
    shown = peerwake("list", "bob").stdout.splitlines()
    assert [line.split()[:3] for line in shown] == [["NAME", "RUNTIME", "STATE"], ["bob", "scripted", "stopped"]]


def test_a_session_record_that_cannot_be_read_is_unknown(peerwake: Run, root: Root, bob) -> None:
    Sessions(root).path(BOB).write_text("{")
    peers = json.loads(peerwake("list", "--json").stdout)["peers"]
    assert peers[0]["runtimes"][0]["state"] == "unknown"


def test_queue_and_show_read_the_spool(peerwake: Run, root: Root, bob: Profile) -> None:
    assert peerwake("queue").stdout == "no messages wait\n"
    sent = json.loads(peerwake("send", "bob", "secret \x1b[2J text", "--json").stdout)
    queues = json.loads(peerwake("queue", "--json").stdout)
    assert [(row["identity"], row["depth"], row["hold"]) for row in queues["queues"]] == [
        ("scripted-bob", 1, "no-supervisor")
    ]
    assert queues["queues"][0]["host"]
    assert queues["queues"][0]["tenant_id"]
    shown = peerwake("queue", "show", sent["message_id"])
    assert shown.returncode == 0
    assert "state:        queued\n" in shown.stdout
    assert "  | secret [2J text\n" in shown.stdout
    assert peerwake("queue", "bob").stdout.splitlines()[1].split()[:2] == ["scripted-bob", "1"]
    assert peerwake("queue", "show", "m_nothing").returncode == 4
    assert peerwake("queue", "bobby").returncode == 4


def test_dead_letters_of_a_peer_of_an_age_and_of_one_that_is_gone(peerwake: Run, root: Root, bob: Profile) -> None:
    with SpoolStore(root.spool) as store:
        for ago, name in ((7200.0, "bob"), (60.0, "bob"), (60.0, "gone")):
            at = SystemClock().wall() - ago
            letter = accept(check_draft(f"{ago:g}"), OPERATOR, Identity("scripted", name), hops=0, now=at)
            store.enqueue(letter, cap=10, hop_limit=20)
            store.bury(letter.id, f"{ago:g} s ago", at)
    assert json.loads(peerwake("queue", "--json").stdout)["dead_total"] == 3
    lines = peerwake("queue", "bob", "--dead", "--older", "1h").stdout.splitlines()
    assert len(lines) == 1 and lines[0].endswith("cli-operator → scripted-bob: 7200 s ago")
    gone = json.loads(peerwake("queue", "gone", "--json").stdout)
    assert [(row["identity"], row["depth"], row["dead"]) for row in gone["queues"]] == [("scripted-gone", 0, 1)]
    assert [letter["reason"] for letter in gone["dead"]] == ["60 s ago"]
    assert peerwake("queue", "--dead", "--older", "2d").stdout == "no dead letters\n"


def test_a_stopped_peer_s_queue_says_so_without_a_server(peerwake: Run, root: Root, bob: Profile) -> None:
    peerwake("send", "bob", "x")
    Flags(root).set(BOB, Flag.STOPPED)
    assert [row["hold"] for row in json.loads(peerwake("queue", "--json").stdout)["queues"]] == ["stopped"]


@pytest.mark.parametrize(
    "argv", [["stop", "bob"], ["start", "--all"], ["queue", "drop", "m_x"], ["queue", "retry", "m_x"], ["self", "done"]]
)
def test_what_needs_a_server_says_how_to_start_one(peerwake: Run, bob, argv) -> None:
    done = peerwake(*argv)
    assert done.returncode == 6
    assert done.stderr.startswith("peerwake: no server runs for ")
    assert done.stderr.endswith("; start one with: peerwake serve --background\n")


@pytest.mark.parametrize(
    "argv",
    [["stop"], ["stop", "bob", "--all"], ["queue", "show"], ["queue", "bob", "extra"], ["self"], ["self", "destroy"]],
)
def test_usage(peerwake: Run, argv) -> None:
    done = peerwake(*argv)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_attach_needs_a_terminal_and_asks_nothing(peerwake: Run, bob) -> None:
    done = peerwake("attach", "bob")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


def test_a_root_open_to_others_is_not_used(peerwake: Run, root: Root, bob) -> None:
    root.home.chmod(0o755)
    done = peerwake("send", "bob", "hi")
    assert done.returncode == 1
    assert f"chmod 700 {root.home}" in done.stderr
    assert not root.spool.exists()


def test_a_spool_that_is_damaged_is_told_and_kept(peerwake: Run, root: Root, bob) -> None:
    root.spool.write_bytes(b"not a database at all" * 100)
    before = root.spool.read_bytes()
    done = peerwake("send", "bob", "hi")
    assert done.returncode == 1
    assert "was not changed" in done.stderr
    assert root.spool.read_bytes() == before


def test_nothing_is_created_where_nothing_was(peerwake: Run, tmp_path: Path) -> None:
    home = tmp_path / "absent"
    for argv in (["list"], ["queue"], ["send", "bob", "hi"], ["verify"], ["doctor"]):
        peerwake(*argv, PEERWAKE_HOME=str(home))
    assert not home.exists()
