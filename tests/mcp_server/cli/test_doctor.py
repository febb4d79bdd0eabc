"""`peerwake doctor`: it works where everything else is broken, changes nothing, and names what mends each finding."""

import json
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from lifecycle.flags import Flag, Flags
from lifecycle.session import Session, Sessions
from lifecycle.states import Mode
from mcp_server.version import VERSION
from tests.mcp_server.cli.conftest import Run
from tests.mcp_server.cli.control_server import ControlServer
from transport.create import NewPeer, create
from transport.files import locked
from transport.identity import OPERATOR, Identity
from transport.message import accept, check_draft
from transport.paths import Root
from transport.process import ProcessId
from transport.registry import Registry
from transport.spool.handle import hold
from transport.spool.schema import STEPS, open_database
from transport.spool.store import SpoolStore

BOB = Identity("scripted", "bob")
Report = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def report(peerwake: Run) -> Report:
    """Return the findings that are not ok, after checking that the exit code says the same."""

    def findings(**environ: str) -> list[dict[str, Any]]:
        done = peerwake("doctor", "--json", **environ)
        found = json.loads(done.stdout)["findings"]
        worst = {each["level"] for each in found}
        assert done.returncode == (2 if "error" in worst else 1 if "warning" in worst else 0)
        assert done.stderr == ""
        assert all(each["host"] and each["tenant_id"] for each in found)
        assert all(bool(each["matters"]) is (each["level"] != "ok") for each in found), found
        return [each for each in found if each["level"] != "ok"]

    return findings


@pytest.fixture
def bob(root: Root) -> None:
    create(Registry(root), NewPeer(runtimes=("scripted",), name="bob"))


def about(findings: list[dict[str, Any]], subject: str) -> list[tuple[str, str, str | None]]:
    return [(each["level"], each["text"], each["mend"]) for each in findings if each["subject"] == subject]


def status(**changes: Any) -> Callable[[str, dict[str, Any]], dict[str, Any]]:
    known = {"pid": 1, "version": VERSION, "role": "supervisor", "addresses": {"http": "http://127.0.0.1:1"}}
    return lambda verb, args: known | changes


def test_all_is_well_with_a_server(report: Report, root: Root, bob) -> None:
    with ControlServer(root.server_socket, status()):
        assert report() == []


def test_without_a_server_it_warns(report: Report, root: Root) -> None:
    found = report()
    assert about(found, "server") == [
        ("warning", f"no server runs for {root.home}", "peerwake serve --background"),
    ]
    assert len(found) == 1


def test_for_people_each_finding_is_followed_by_why_it_matters_and_what_mends_it(peerwake: Run, root: Root) -> None:
    lines = peerwake("doctor").stdout.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("warning"))
    assert lines[at].split()[:2] == ["warning", "server"]
    assert lines[at + 1].strip() == "· without a server messages wait, and nobody is woken"
    assert lines[at + 2].strip() == "→ peerwake serve --background"


def test_a_server_of_another_version(report: Report, root: Root) -> None:
    with ControlServer(root.server_socket, status(version="0.0.1")):
        (finding,) = about(report(), "server")
    assert finding[0] == "warning"
    assert "0.0.1" in finding[1]


def test_a_server_that_hangs_up_is_told(report: Report, root: Root) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(root.server_socket))
        deaf.listen(1)
        deaf.shutdown(socket.SHUT_RDWR)
        assert about(report(), "server")[0][0] == "warning"


def test_a_supervisor_that_does_not_answer_is_an_error(report: Report, root: Root) -> None:
    with locked(root.supervisor_lock):
        (finding,) = about(report(), "server")
    assert finding[0] == "error"
    assert "a process holds" in finding[1]


def test_a_root_that_is_a_file(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = report(PEERWAKE_HOME=str(tmp_path / "file"))
    assert about(found, "root")[0][:2] == ("error", f"{tmp_path / 'file'} is not a directory")


def test_parts_of_the_root_that_are_not_what_they_should_be(report: Report, root: Root) -> None:
    (root.home / "state").rmdir()
    root.state.write_text("a file")
    root.logs.chmod(0o755)
    found = about(report(), "root")
    assert ("error", f"{root.logs} is open to other users (755)", f"chmod 700 {root.logs}") in found
    assert any(text.startswith(f"{root.state} is not a directory") for _, text, _ in found)


def test_a_root_too_deep_for_sockets(report: Report, tmp_path: Path) -> None:
    (found,) = about(report(PEERWAKE_HOME=str(tmp_path / ("x" * 90))), "sockets")
    assert found[0] == "error"
    assert found[2] is not None
    assert "PEERWAKE_HOME" in found[2]


def test_modes_of_secrets(report: Report, root: Root) -> None:
    root.secret.write_bytes(b"x" * 32)
    root.secret.chmod(0o644)
    assert about(report(), "modes") == [
        ("error", f"{root.secret} is open to other users (644)", f"chmod 600 {root.secret}")
    ]


def test_settings_and_runtimes_that_cannot_be_read(report: Report, root: Root) -> None:
    root.config.write_text("port = 'many'")
    root.config.chmod(0o600)
    root.runtimes.mkdir(mode=0o700)
    (root.runtimes / "mine.toml").write_text("argv = 7")
    found = report()
    assert about(found, "settings")[0][0] == "error"
    assert "port" in about(found, "settings")[0][1]
    assert "mine.toml" in about(found, "runtimes")[0][1]


def test_a_client_that_a_peer_needs_and_nobody_has(report: Report, root: Root) -> None:
    create(Registry(root), NewPeer(runtimes=("codex",), name="carol"))
    (found,) = about(report(PATH="/usr/bin:/bin"), "clients")
    assert found[0] == "error"
    assert "carol cannot be woken" in found[1]


def test_no_tmux(report: Report, root: Root, tmp_path: Path) -> None:
    (found,) = about(report(PATH=str(tmp_path)), "tmux")
    assert found[0] == "error"


def test_a_damaged_registry(report: Report, root: Root, bob) -> None:
    root.registry.write_text("{")
    found = about(report(), "registry")
    assert found[0][0] == "error"
    assert found[0][2] == "peerwake verify --fix"
    assert root.registry.read_text() == "{"


@pytest.mark.parametrize("damage", [b"not a database" * 50, b""], ids=["foreign", "empty"])
def test_the_spool_is_looked_at_and_left_as_it_is(report: Report, root: Root, damage: bytes) -> None:
    root.spool.write_bytes(damage)
    root.spool.chmod(0o600)
    found = about(report(), "spool")
    assert [level for level, _, _ in found] == (["error"] if damage else [])


def test_damaged_pages_of_the_spool(report: Report, root: Root) -> None:
    with SpoolStore(root.spool) as store:
        for number in range(200):
            message = accept(check_draft("x" * 2000), OPERATOR, BOB, hops=0, now=float(number))
            store.enqueue(message, cap=1000, hop_limit=20)
    size = root.spool.stat().st_size
    with root.spool.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 4))
    assert about(report(), "spool")[0][0] == "error"


def store_of(root: Root, body: str) -> SpoolStore:
    """Return a store that is open and has one message, which is in the write-ahead log alone."""
    store = SpoolStore(root.spool)
    store.enqueue(accept(check_draft(body), OPERATOR, BOB, hops=0, now=1.0), cap=10, hop_limit=20)
    return store


def bodies(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT body FROM bodies")]


@pytest.fixture
def odd_root() -> Iterator[Root]:
    """A root whose path has to be quoted for a shell."""
    with TemporaryDirectory(prefix="pw; it's ", dir="/tmp") as home:
        root = Root(Path(home))
        root.prepare()
        yield root


def test_what_mends_a_damaged_spool_keeps_messages_that_are_in_its_log_alone(peerwake: Run, odd_root: Root) -> None:
    root = odd_root
    with store_of(root, "kept"):
        left = {path.name: path.read_bytes() for path in root.state.glob("spool.db*")}
    assert set(left) == {"spool.db", "spool.db-wal", "spool.db-shm"}
    for name, content in (left | {"spool.db": b"not a database"}).items():
        (root.state / name).write_bytes(content)
    found = json.loads(peerwake("doctor", "--json", PEERWAKE_HOME=str(root.home)).stdout)["findings"]
    ((level, text, mend),) = about(found, "spool")
    assert (level, "spool.db cannot be used: file is not a database" in text) == ("error", True)
    assert mend is not None
    assert mend.startswith("stop the server, then: mkdir ")
    subprocess.run(["sh", "-euc", mend.partition("then: ")[2]], check=True)
    assert not list(root.state.glob("spool.db*"))
    (moved,) = root.home.rglob("spool.db")
    assert {path.name for path in moved.parent.iterdir()} == set(left)
    moved.write_bytes(left["spool.db"])
    assert bodies(moved) == ["kept"]


def test_a_spool_that_another_program_holds_is_not_to_be_moved(report: Report, root: Root) -> None:
    store_of(root, "kept").close()
    with closing(sqlite3.connect(root.spool, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        ((level, text, mend),) = about(report(), "spool")
    assert (level, "is locked by another program" in text) == ("error", True)
    assert mend == "close the program that holds it, then: peerwake doctor"
    assert about(report(), "spool") == []


def test_a_spool_that_cannot_be_read_is_not_to_be_moved(report: Report, root: Root) -> None:
    root.spool.mkdir()
    ((level, text, mend),) = about(report(), "spool")
    assert (level, "nothing was stored; check the disk" in text) == ("error", True)
    assert mend == f"see to the disk and to the permissions of {root.state}, then: peerwake doctor"


def with_version(root: Root, version: int) -> None:
    store_of(root, "kept").close()
    with closing(sqlite3.connect(root.spool)) as db:
        db.execute(f"PRAGMA user_version = {version}")


def test_a_spool_of_a_newer_version_waits_for_an_upgrade(report: Report, root: Root) -> None:
    with_version(root, len(STEPS) + 1)
    ((level, text, mend),) = about(report(), "spool")
    assert (level, f"version {len(STEPS) + 1}, this peerwake knows {len(STEPS)}" in text) == ("error", True)
    assert mend == "upgrade peerwake"


@pytest.mark.parametrize("version", range(1, len(STEPS)))
def test_a_spool_of_an_older_version_is_no_damage(report: Report, root: Root, version: int) -> None:
    root.spool.touch(mode=0o600)
    handle = hold(root.spool)
    open_database(root.spool, STEPS[:version], handle=handle).close()
    handle.release()
    assert about(report(), "spool") == []


def test_a_spool_whose_tables_are_not_ours_is_damaged(report: Report, root: Root) -> None:
    store_of(root, "kept").close()
    with closing(sqlite3.connect(root.spool)) as db:
        db.execute("DROP TABLE queues")
    ((level, text, mend),) = about(report(), "spool")
    assert (level, "cannot be used: no such table" in text, "mkdir" in str(mend)) == ("error", True, True)


def test_dead_letters_and_crash_loops(report: Report, root: Root, bob) -> None:
    now = time.time()
    with SpoolStore(root.spool) as store:
        message = store.enqueue(accept(check_draft("x"), OPERATOR, BOB, hops=0, now=now), cap=10, hop_limit=20).message
        store.lease(BOB, "fence", now)
        store.bury(message.id, "nobody answers", now)
    Flags(root).set(BOB, Flag.FAILED, "3 deaths in 300 s")
    found = report()
    assert about(found, "dead letters") == [("warning", "1 message was given up", "peerwake queue")]
    assert about(found, "peers") == [
        ("warning", "scripted-bob died again and again: 3 deaths in 300 s", "peerwake start bob")
    ]


def test_what_dead_sessions_left_behind(report: Report, root: Root, bob) -> None:
    Sessions(root).save(
        Session(BOB, "here", "me", "/", "fence", 0.0, Mode.FRESH, "id", tmux=ProcessId(os.getpid(), "another time"))
    )
    Sessions(root).path(Identity("claude", "bob")).write_text("{")
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(root.tmux_socket(BOB)))
    half = root.state / ".spool.1.tmp"
    half.write_text("")
    os.utime(half, (0, 0))
    found = report()
    texts = [text for _, text, _ in about(found, "leftovers")]
    assert "scripted-bob: its session died unseen" in texts
    assert f"{root.tmux_socket(BOB)}: no tmux server behind it" in texts
    assert f"{half} was left half-written" in texts
    assert about(found, "sessions")[0][0] == "error"


def test_a_record_that_cannot_be_read_is_not_to_be_removed(report: Report, root: Root, bob) -> None:
    """What runs there may be alive, and nothing would know of it."""
    path = Sessions(root).path(BOB)
    path.write_text("{")
    ((level, _, mend),) = about(report(), "sessions")
    assert (level, mend) == ("error", "peerwake stop bob && peerwake start bob")
    path.write_text('{"version": 2}')
    ((level, _, mend),) = about(report(), "sessions")
    assert (level, mend) == ("error", "upgrade, or: peerwake stop bob && peerwake start bob")


def test_a_tmux_server_that_no_record_knows_is_ended_by_stop(report: Report, root: Root, bob) -> None:
    """It may have a live agent, whose end is no death; where the peer is not known any more, no verb reaches it."""
    gone = Identity("scripted", "gone")
    with ExitStack() as stack:
        for identity in (BOB, gone):
            there = stack.enter_context(socket.socket(socket.AF_UNIX))
            there.bind(str(root.tmux_socket(identity)))
            there.listen(1)
        found = {text.partition(":")[0]: mend for _, text, mend in about(report(), "leftovers")}
    assert found == {
        str(root.tmux_socket(BOB)): "peerwake stop bob && peerwake start bob",
        str(root.tmux_socket(gone)): f"tmux -S {root.tmux_socket(gone)} kill-server",
    }


def test_it_changes_nothing(peerwake: Run, root: Root, bob) -> None:
    root.registry.write_text("{")
    (root.state / "junk.session").write_text("{")
    before = {path: path.read_bytes() for path in root.home.rglob("*") if path.is_file()}
    peerwake("doctor")
    assert {path: path.read_bytes() for path in root.home.rglob("*") if path.is_file()} == before
