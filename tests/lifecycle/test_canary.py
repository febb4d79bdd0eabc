"""The canary: every death of a tmux server leaves one line and one snapshot, a deliberate end neither."""

import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle import canary
from lifecycle.canary import Ensured
from tests.lifecycle.cages import Cages, cages, pause, wall_of
from tests.live.world import until
from tests.shortage import no_descriptors
from transport import scope
from transport.files import locked
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, identify, terminate
from transport.tmux.program import find_tmux

pytestmark = pytest.mark.live
ALICE = Identity("scripted", "alice")


@pytest.fixture
def caged(root: Root) -> Iterator[Cages]:
    with cages(root) as made:
        yield made


def test_a_killed_server_leaves_one_line_and_one_snapshot(caged: Cages, root: Root) -> None:
    (root.logs / "lifecycle.log").write_text(
        "ts=x ev=wake identity=scripted-alice tmux=7\n"
        "ts=x ev=wake identity=scripted-alice-two\n"
        "ts=x ev=boot identity=scripted-alice\n"
    )
    (server,) = caged.start_watched("alice")
    caged.kill("alice")
    (line,) = caged.deaths(1)
    assert line.pop("ts").endswith("+00:00")
    forensics = line["forensics"]
    assert forensics.startswith("server-deaths/")
    assert line == {
        "ev": "server-exit",
        "identity": "scripted-alice",
        "server_pid": str(server.pid),
        "server_started": server.started,
        "cause": "SIGKILL",
        "forensics": forensics,
    }
    text = caged.snapshot(line)
    for title in ("memory", "pressure", "swap", "top 25 processes by RSS", "cgroup memory events", "kernel lines"):
        assert f"\n== {title}\n" in text
    assert "MemAvailable" in text
    assert "Max open files" in text
    assert text.count("identity=scripted-alice") == 2
    assert "identity=scripted-alice-two" not in text
    assert len(text) < 200_000
    assert (root.logs / forensics).stat().st_mode & 0o777 == 0o600
    assert len(list((root.logs / "server-deaths").iterdir())) == 1
    until(lambda: not caged.watchers(), 10, "the end of a watcher with nothing to watch")
    assert len(caged.lines()) == 1
    assert [path.stat().st_size for path in canary.watches(root)] == [0]


@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGABRT, "SIGABRT"), (signal.SIGTERM, "exit:0"), (signal.SIGKILL, "SIGKILL")],
)
def test_the_cause_is_what_the_kernel_says(caged: Cages, number: int, cause: str) -> None:
    caged.start_watched("alice")
    caged.kill("alice", number)
    (line,) = caged.deaths(1)
    assert line["cause"] == cause


@pytest.mark.parametrize("count", [10, 50])
def test_many_at_once(caged: Cages, count: int) -> None:
    names = [f"peer{number}" for number in range(count)]
    servers = caged.start_watched(*names)
    watcher = caged.only_watcher()
    for server in servers:
        os.kill(server.pid, signal.SIGKILL)
    lines = caged.deaths(count, 20)
    assert {int(line["server_pid"]) for line in lines} == {server.pid for server in servers}
    assert {line["cause"] for line in lines} == {"SIGKILL"}
    for line in lines:
        assert f"server_pid: {line['server_pid']}\n" in caged.snapshot(line)
    until(lambda: not watcher.is_alive(), 10, "the end of the watcher")
    assert len(caged.lines()) == count


def test_a_dismissed_server_dies_in_silence(caged: Cages, root: Root) -> None:
    server, _ = caged.start_watched("alice", "bob")
    canary.dismiss(root, ALICE, server.pid)
    subprocess.run([find_tmux(), "-S", str(root.tmux_socket(ALICE)), "kill-server"], check=True, timeout=10)
    until(lambda: not caged.servers[ALICE].is_alive(), 10, "the end of alice")
    until(lambda: len(caged.held()) == 1, 10, "the end of the watch")
    assert caged.lines() == []
    caged.kill("bob")
    (line,) = caged.deaths(1)
    assert line["identity"] == "scripted-bob"


def test_a_dismissal_takes_no_line_from_the_death_before_it(caged: Cages, root: Root) -> None:
    """The watcher was held up while the one session died and the next was closed."""
    (first,) = caged.start_watched("alice")
    watcher = caged.only_watcher()
    terminate(watcher, signal.SIGSTOP)
    try:
        caged.kill("alice")
        second = caged.start("alice")
        canary.ensure(root, ALICE, second)
        canary.dismiss(root, ALICE, second.pid)
        caged.kill("alice")
    finally:
        terminate(watcher, signal.SIGCONT)
    (line,) = caged.deaths(1)
    assert line["server_pid"] == str(first.pid)
    until(lambda: not caged.watchers(), 10, "the end of the watcher")
    assert len(caged.lines()) == 1


def test_ensuring_again_between_dismissal_and_teardown_changes_nothing(caged: Cages, root: Root) -> None:
    (server,) = caged.start_watched("alice")
    canary.dismiss(root, ALICE, server.pid)
    assert canary.ensure(root, ALICE, server) is Ensured.ALREADY
    caged.kill("alice")
    until(lambda: not caged.watchers(), 10, "the end of the watcher")
    assert caged.lines() == []


@pytest.mark.parametrize("is_watched", [True, False])
def test_who_ensures_late_has_no_deliberate_end_reported(caged: Cages, root: Root, is_watched: bool) -> None:
    """A tick collected the servers a moment before one of them was ended."""
    (bob,) = caged.start_watched("bob")
    alice = caged.start_watched("alice")[0] if is_watched else caged.start("alice")
    servers = dict(caged.servers)
    canary.dismiss(root, ALICE, alice.pid)
    caged.kill("alice")
    until(lambda: len(caged.held()) == 1, 10, "the end of the watch")
    canary.ensure_all(root, servers)
    caged.kill("bob")
    assert [line["identity"] for line in caged.deaths(1)] == ["scripted-bob"]
    canary.ensure(root, Identity("scripted", "bob"), bob)
    caged.start_watched("carol")
    caged.kill("carol")
    assert [line["identity"] for line in caged.deaths(2)] == ["scripted-bob", "scripted-carol"]


def test_a_server_that_survived_its_dismissal_is_watched_again_later(caged: Cages, root: Root) -> None:
    (server,) = caged.start_watched("alice")
    canary.dismiss(root, ALICE, server.pid)
    path = canary.watch_file(root, ALICE, server.pid)
    os.utime(path, (time.time() - 120, time.time() - 120))
    assert canary.ensure(root, ALICE, server) is Ensured.ALREADY
    caged.settle()
    caged.kill("alice")
    assert caged.deaths(1)[0]["cause"] == "SIGKILL"


def test_a_watch_that_the_disk_does_not_take_is_told_and_leaves_what_was_there(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    here = identify(os.getpid())
    assert here is not None
    path = canary.watch_file(root, ALICE, here.pid)
    path.parent.mkdir()
    path.write_text("1\nof another boot\n")
    monkeypatch.setattr("lifecycle.canary.replace", full)
    assert canary.ensure(root, ALICE, here) is Ensured.FAILED
    assert path.read_text() == "1\nof another boot\n"
    assert os.listdir(path.parent) == [path.name]


def test_ensure_tells_what_it_did(caged: Cages, root: Root) -> None:
    server = caged.start("alice")
    assert canary.ensure(root, ALICE, server) is Ensured.SPAWNED
    assert canary.ensure(root, ALICE, server) is Ensured.ALREADY
    assert canary.is_running(root)
    other = Root(root.home / "elsewhere")
    assert canary.ensure(other, ALICE, server) is Ensured.SKIPPED
    other.logs.mkdir(parents=True)
    assert canary.ensure(other, ALICE, server) is Ensured.FAILED
    canary.dismiss(other, ALICE, server.pid)


def test_two_ensures_at_once_make_one_watcher(caged: Cages, root: Root) -> None:
    servers = {Identity("scripted", name): caged.start(name) for name in ("alice", "bob", "carol", "dave")}
    gate, results = threading.Barrier(len(servers)), []

    def ensure(identity: Identity) -> None:
        gate.wait()
        results.append(canary.ensure(root, identity, servers[identity]))

    threads = [threading.Thread(target=ensure, args=(identity,)) for identity in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [Ensured.ALREADY] * 3 + [Ensured.SPAWNED]
    caged.only_watcher()
    until(lambda: len(caged.held()) == 4, 10, "the watch over all")
    for name in ("alice", "bob", "carol", "dave"):
        caged.kill(name)
    assert {line["cause"] for line in caged.deaths(4)} == {"SIGKILL"}


def test_a_killed_watcher_is_replaced_and_nothing_is_lost(caged: Cages, root: Root) -> None:
    caged.start_watched("alice", "bob")
    watcher = caged.only_watcher()
    terminate(watcher, signal.SIGKILL)
    until(lambda: not watcher.is_alive(), 10, "the death of the watcher")
    caged.kill("alice")
    pause()
    assert caged.lines() == []
    bob = Identity("scripted", "bob")
    assert canary.ensure(root, bob, caged.servers[bob]) is Ensured.SPAWNED
    (line,) = caged.deaths(1)
    assert (line["identity"], line["cause"]) == ("scripted-alice", "unknown")
    caged.snapshot(line)
    caged.settle()
    caged.kill("bob")
    assert [line["cause"] for line in caged.deaths(2)] == ["unknown", "SIGKILL"]


def test_a_reused_pid_is_not_the_server(caged: Cages, root: Root) -> None:
    """A file that names a living pid with another start time is of a server that is dead."""
    me = identify(os.getpid())
    assert me is not None
    former = ProcessId(me.pid, str(int(me.started) - 1))
    assert canary.ensure(root, ALICE, former) is Ensured.SPAWNED
    (line,) = caged.deaths(1)
    assert (line["server_pid"], line["cause"]) == (str(me.pid), "unknown")
    until(lambda: not caged.watchers(), 10, "the end of the watcher")
    assert len(caged.lines()) == 1


def test_a_death_from_before_a_reboot_is_called_so(caged: Cages, root: Root) -> None:
    canary.directory(root).mkdir()
    canary.watch_file(root, ALICE, os.getpid()).write_text(f"{os.getpid()}\n1\nanother-boot\n")
    assert canary.ensure_all(root, {}) is Ensured.SPAWNED
    (line,) = caged.deaths(1)
    assert (line["cause"], line["forensics"]) == ("reboot", "none")


def test_a_claim_that_was_cut_off_is_settled_once(caged: Cages, root: Root) -> None:
    canary.directory(root).mkdir()
    (canary.directory(root) / ".claimed-scripted-alice.7").write_text("7\n1\nx\n")
    (canary.directory(root) / ".claimed-scripted-bob.8").write_text("8\n1\nx\n")
    (root.logs / "exits.log").write_text(
        "ts=2026-11-20T10:00:00.000+00:00 ev=server-exit identity=scripted-alice"
        " server_pid=7 server_started=0 cause=SIGKILL forensics=none\n"
        "ts=2026-11-20T10:00:00.000+00:00 ev=server-exit identity=scripted-bob"
        " server_pid=8 server_started=1 cause=SIGKILL forensics=none\n"
    )
    assert canary.ensure_all(root, {}) is Ensured.SPAWNED
    assert [line["server_started"] for line in caged.deaths(3)] == ["0", "1", "1"]


def test_a_log_that_cannot_be_written_loses_no_death(caged: Cages, root: Root) -> None:
    (root.logs / "exits.log").mkdir()
    with locked(root.supervisor_lock):
        caged.start_watched("alice")
        caged.kill("alice")
        until(lambda: (canary.directory(root) / f".claimed-scripted-alice.{caged.servers[ALICE].pid}").exists(), 10)
        (root.logs / "exits.log").rmdir()
        (line,) = caged.deaths(1)
    assert line["identity"] == "scripted-alice"


def test_a_watcher_without_descriptors_misses_no_death(caged: Cages, root: Root) -> None:
    """What it cannot open is neither dead nor accounted for: it looks again."""
    caged.start_watched("alice")
    bob, carol = caged.start("bob"), caged.start("carol")
    with no_descriptors(caged.only_watcher().pid):
        canary.ensure_all(root, {Identity("scripted", "bob"): bob, Identity("scripted", "carol"): carol})
        caged.kill("alice")
        caged.kill("bob")
        until(lambda: not caged.held(), 10, "the watcher's notice of the first death")
    assert {line["identity"] for line in caged.deaths(2)} == {"scripted-alice", "scripted-bob"}
    caged.settle()
    caged.kill("carol")
    assert caged.deaths(3)[-1]["cause"] == "SIGKILL"


def test_the_watcher_stays_while_a_server_of_peerwake_runs(caged: Cages, root: Root) -> None:
    with locked(root.supervisor_lock):
        caged.start_watched("alice")
        watcher = caged.only_watcher()
        caged.kill("alice")
        caged.deaths(1)
        (bob,) = caged.start_watched("bob")
        assert caged.only_watcher() == watcher
        canary.dismiss(root, Identity("scripted", "bob"), bob.pid)
        caged.kill("bob")
    until(lambda: not watcher.is_alive(), 10, "the end of the watcher")
    assert len(caged.lines()) == 1


def test_the_watcher_goes_with_its_root(caged: Cages, root: Root) -> None:
    with locked(root.supervisor_lock):
        (server,) = caged.start_watched("alice")
        canary.dismiss(root, ALICE, server.pid)
        caged.kill("alice")
        canary.lock(root).unlink()
        until(lambda: not caged.watchers(), 10, "the end of the watcher")


def test_twenty_rounds_of_random_deaths_are_all_accounted_for(caged: Cages, root: Root) -> None:
    chance = random.Random(4)
    causes = {signal.SIGKILL: "SIGKILL", signal.SIGSEGV: "SIGSEGV", signal.SIGTERM: "exit:0", signal.SIGABRT: "SIGABRT"}
    expected: list[tuple[str, str]] = []
    with locked(root.supervisor_lock):
        for number in range(20):
            names = [f"r{number}n{index}" for index in range(chance.randint(1, 3))]
            servers = caged.start_watched(*names)
            if chance.random() < 0.25:
                watcher = caged.only_watcher()
                terminate(watcher, signal.SIGKILL)
                until(lambda watcher=watcher: not watcher.is_alive(), 10, "the death of the watcher")
                assert canary.ensure_all(root, {}) is Ensured.SPAWNED
                caged.settle()
            for name, server in zip(names, servers, strict=True):
                if chance.random() < 0.3:
                    canary.dismiss(root, Identity("scripted", name), server.pid)
                    caged.kill(name)
                else:
                    sent = chance.choice(list(causes))
                    caged.kill(name, sent)
                    expected.append((str(server.pid), causes[sent]))
    until(lambda: not caged.watchers(), 10, "the end of the watcher")
    assert sorted((line["server_pid"], line["cause"]) for line in caged.lines()) == sorted(expected)
    assert len(list((root.logs / "server-deaths").glob("*.txt"))) == len(expected)


def test_the_time_of_a_line_is_the_time_of_the_death(caged: Cages) -> None:
    (server,) = caged.start_watched("alice")
    before = time.time()
    os.kill(server.pid, signal.SIGKILL)
    (line,) = caged.deaths(1)
    assert before - 0.001 <= wall_of(line) <= time.time()


SCOPE_PROGRAM = """#!/bin/sh
echo "$@" >>{calls}
{ending}
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"""


@pytest.mark.parametrize(("ending", "answers"), [("", True), ("exit 1", False)], ids=["works", "fails"])
def test_the_watcher_gets_a_scope_of_its_own_or_does_without(
    caged: Cages, root: Root, monkeypatch: pytest.MonkeyPatch, ending: str, answers: bool
) -> None:
    runtime, bin_ = root.home / "xdg", root.home / "bin"
    (runtime / "systemd").mkdir(parents=True)
    (runtime / "systemd" / "private").touch()
    bin_.mkdir()
    calls = root.home / "calls"
    (bin_ / "systemd-run").write_text(SCOPE_PROGRAM.format(calls=calls, ending=ending))
    (bin_ / "systemd-run").chmod(0o700)
    server = caged.start("alice")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setattr(scope, "COMMAND", (str(bin_ / "systemd-run"), *scope.COMMAND[1:]))
    assert canary.ensure(root, ALICE, server, scope=True) is Ensured.SPAWNED
    assert calls.read_text().startswith("--user --scope --quiet --collect --description=peerwake canary -- ")
    assert canary.is_running(root)
    watcher = caged.only_watcher()
    assert canary.ensure(root, ALICE, server, scope=True) is Ensured.ALREADY
    assert caged.only_watcher() == watcher
    caged.settle()
    caged.kill("alice")
    assert caged.deaths(1)[0]["cause"] == "SIGKILL"


def test_a_full_disk_loses_no_death_and_no_cause(caged: Cages, root: Root) -> None:
    """What could not be written when it happened is written once, later, with its own time and cause."""
    (root.logs / "exits.log").mkdir()
    with locked(root.supervisor_lock):
        (server,) = caged.start_watched("alice")
        before = time.time()
        caged.kill("alice", signal.SIGSEGV)
        after = time.time()
        claim = canary.directory(root) / f".claimed-scripted-alice.{server.pid}"
        until(claim.exists, 10, "the claim")
        (root.logs / "exits.log").rmdir()
        (root.logs / "exits.log").write_text("ts=2026-11-20T10:00:00.000+00:00 ev=session-exit identity=scripted-b")
        until(lambda: not claim.exists(), 10, "the line")
    torn, line = (root.logs / "exits.log").read_text().splitlines()
    assert torn.endswith("identity=scripted-b")
    assert " cause=SIGSEGV " in line
    assert before - 0.001 <= wall_of(dict(re.findall(r"(\w+)=(\S*)", line))) <= after + 0.05


def test_a_snapshot_that_cannot_be_written_leaves_the_line(caged: Cages, root: Root) -> None:
    (root.logs / "server-deaths").write_text("in the way")
    caged.start_watched("alice")
    caged.kill("alice")
    (line,) = caged.deaths(1)
    assert line["cause"] == "SIGKILL"
    until(lambda: not caged.watchers(), 10, "the end of the watcher")
    assert (root.logs / "server-deaths").read_text() == "in the way"
