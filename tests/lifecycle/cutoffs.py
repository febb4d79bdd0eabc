"""Removals and renames that are cut off at every step: by SIGKILL, or by a call that fails once.

Run as a program, so that it may fork: `python -m tests.lifecycle.cutoffs rename|remove kill|fail HOME own|elsewhere`
prints what it saw as one JSON object: `points`, how many calls were cut, and `outcomes`, how often a peer was found
under which name afterwards. What is neither the one nor the other ends it with a traceback.
"""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from lifecycle.flags import Flag, Flags
from lifecycle.journal import Journal, Removal, Renaming
from lifecycle.remove import Remover
from lifecycle.rename import Renamer
from lifecycle.runtimes.table import load_table
from lifecycle.session import Session, Sessions, dump
from lifecycle.states import Mode
from mcp_server.clients.connection import Connection
from mcp_server.clients.table import configure
from mcp_server.clients.withdraw import withdraw
from transport.clock import SystemClock
from transport.create import NewPeer, create
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.message import Draft, accept
from transport.paths import Root
from transport.registry import Registry
from transport.spool import upkeep
from transport.spool.store import SpoolStore

CALLS = ("replace", "rename", "unlink", "rmdir", "mkdir", "symlink", "fsync")
TOP = Path(__file__).parents[2]
OLD, NEW = "alice", "alicia"
BOB = Identity("claude", "bob")
LIMITS = {"cap": 100, "hop_limit": 20}
BRIDGE = ("serve", "--transport", "stdio")
PAST, DONE, REFUSED, FAULT = 0, 2, 1, 3


class Stage:
    """One root with a claude peer that has slept, and whose queue, state and conversation are not empty.

    A client's configuration that cannot be written is left as it is, so only without that it `is_withdrawn`.
    """

    def __init__(self, home: Path, is_elsewhere: bool, is_withdrawn: bool = True) -> None:
        self.is_elsewhere = is_elsewhere
        self.is_withdrawn = is_withdrawn
        self.root = Root(home)
        self.clock = SystemClock()
        self.registry = Registry(self.root, self.clock)
        logs = Logs(self.root.logs, self.clock)
        table = load_table(self.root.runtimes)
        self.renamer = Renamer(self.root, self.registry, table, self.clock, logs)
        environ = {"HOME": str(home / "home")}
        flags = Flags(self.root)
        self.remover = Remover(
            self.root, self.registry, flags, self.clock, logs, lambda cwd: withdraw(cwd, home, environ)
        )

    def build(self) -> None:
        """Make everything anew."""
        shutil.rmtree(self.root.home, ignore_errors=True)
        self.root.prepare()
        if self.is_elsewhere:
            self.cwd(OLD).mkdir(parents=True)
        cwd = self.cwd(OLD) if self.is_elsewhere else None
        alice = create(self.registry, NewPeer(runtimes=("claude", "codex"), name=OLD, cwd=cwd))
        create(self.registry, NewPeer(runtimes=("claude",), name="bob"))
        (alice.cwd / "work.txt").write_text("mine")
        home = self.root.home / "home"
        self.configure(alice.cwd)
        (self.projects(OLD)).mkdir(parents=True)
        (self.projects(OLD) / "one.jsonl").write_text("{}\n")
        identity = Identity("claude", OLD)
        session = Session(
            identity,
            "here",
            "me",
            str(alice.cwd),
            "fence",
            1.0,
            Mode.FRESH,
            "one",
            session_ref="one",
            is_closing=True,
            client_env={"HOME": str(home)},
        )
        self.root.flag(identity, "last").write_text(dump(session))
        Flags(self.root).set(identity, Flag.STOPPED)
        self.root.pane_log(identity).write_text("screen")
        with SpoolStore(self.root.spool) as store:
            for number in range(2):
                note = Draft(f"to {number}", attachments=(str(alice.cwd / "work.txt"),))
                store.enqueue(accept(note, BOB, identity, hops=0, now=self.clock.wall()), **LIMITS)
                store.enqueue(accept(Draft(f"from {number}"), identity, BOB, hops=0, now=self.clock.wall()), **LIMITS)

    def configure(self, cwd: Path) -> None:
        """Write the configuration of a claude peer that works in a directory."""
        connection = Connection(command="peerwake", args=BRIDGE, home=self.root.home)
        configure("claude", cwd, connection, environ={"HOME": str(self.root.home / "home")})

    def cwd(self, name: str) -> Path:
        """Where the peer works under one of its names."""
        return self.root.home / "work" / "project" if self.is_elsewhere else self.root.peers / name

    def projects(self, name: str) -> Path:
        slug = re.sub(r"[^A-Za-z0-9]", "-", str(self.cwd(name)))
        return self.root.home / "home" / ".claude" / "projects" / slug

    def rename(self) -> None:
        profile = self.registry.get(OLD)
        assert profile is not None
        self.renamer.carry_out(self.renamer.check(profile, NEW))

    def remove(self) -> None:
        profile = self.registry.get(OLD)
        assert profile is not None
        removal = self.remover.check(profile, force=True, purge=False)
        self.remover.begin(removal, force=True)
        self.remover.finish(removal)

    def recover(self) -> None:
        """Do what the next server does first."""
        match Journal(self.root).load():
            case Renaming() as change:
                self.renamer.recover(change)
            case Removal() as change:
                self.remover.begin(change, force=True)
                self.remover.finish(change)
            case None:
                pass

    def outcome(self) -> str:
        """Return the name under which the peer is found, wholly, or `removed`; fails when it is in between."""
        assert Journal(self.root).load() is None
        assert self.registry.verify() == (), self.registry.verify()
        (name,) = set(self.registry.names()) - {"bob"} or {"removed"}
        if name == "removed":
            self._check_removed()
        else:
            self._check_whole(name, NEW if name == OLD else OLD)
        return name

    def _check_whole(self, name: str, other: str) -> None:
        cwd, identity = self.cwd(name), Identity("claude", name)
        assert (cwd / "work.txt").read_text() == "mine"
        assert (self.root.peers / name).resolve() == cwd
        assert not os.path.lexists(self.root.peers / other)
        last = Sessions(self.root).last(identity)
        assert last is not None
        assert (last.cwd, last.session_ref) == (str(cwd), "one")
        assert Flags(self.root).is_set(identity, Flag.STOPPED)
        assert self.root.pane_log(identity).read_text() == "screen"
        assert (self.projects(name) / "one.jsonl").exists()
        assert self.is_elsewhere or not self.projects(other).exists()
        assert (cwd / ".mcp.json").exists()
        assert not self.left_of(other)
        with SpoolStore(self.root.spool) as store:
            assert store.waiting() == {identity: 2, BOB: 2}, store.waiting()
            assert [each.message.body for each in self.leases(store, identity)] == ["to 0", "to 1"]
            assert [each.message.sender for each in self.leases(store, BOB)] == [identity] * 2

    def _check_removed(self) -> None:
        cwd = self.cwd(OLD)
        assert (cwd / "work.txt").read_text() == "mine"
        if self.is_withdrawn:
            assert not (cwd / ".mcp.json").exists() and not (cwd / ".claude/settings.json").exists()
        assert not self.left_of(OLD)
        with SpoolStore(self.root.spool) as store:
            assert store.waiting() == {BOB: 4}, store.waiting()
            assert store.read(upkeep.senders, OLD) == []
            letters = [store.message(record.message.id) for record in store.dead(Identity("claude", OLD))]
            assert sorted(letter.message.body for letter in letters if letter) == ["to 0", "to 1"]

    def leases(self, store: SpoolStore, identity: Identity) -> list[Any]:
        found = []
        while lease := store.lease(identity, "test", self.clock.wall()):
            found.append(lease)
            assert all(Path(path).exists() for path in lease.message.attachments), lease.message.attachments
            store.consume(lease.message.id, "test", self.clock.wall())
        return found

    def left_of(self, name: str) -> list[str]:
        places = (self.root.state, self.root.run, self.root.run / "tmux", self.root.logs / "panes")
        found = [entry.name for place in places for entry in place.iterdir()]
        return [each for each in found if re.match(rf"[a-z0-9]+-{name}\.", each) and not each.endswith(".lock")]


class Cut:
    """Calls `end` in place of the `point`-th call that changes something on disk, counted from now."""

    def __init__(self, point: int, end: Callable[[], None]) -> None:
        self.count = 0
        self.point = point
        self._end = end
        for name in CALLS:
            setattr(os, name, self._counted(getattr(os, name)))
        for name in ("write", "rename", "bury_all"):
            setattr(SpoolStore, name, self._counted(getattr(SpoolStore, name)))

    def _counted(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            if self.count == self.point:
                self._end()
            return original(*args, **kwargs)

        return call


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(errno.EIO, "injected")


def child(stage: Stage, act: str, how: str, point: int) -> int:
    """Do it in a child process that is cut at one point; returns its exit code, PAST when it was over before."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = FAULT
    try:
        cut = Cut(point, die if how == "kill" else fail)
        try:
            getattr(stage, act)()
            code = DONE if cut.count >= point else PAST
        except (PeerwakeError, OSError):
            code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def cut_off(act: str, how: str, root: Root, where: str) -> set[str]:
    """Run this file as a program, see that it cut at many points, and return the outcomes there were."""
    argv = [sys.executable, "-m", "tests.lifecycle.cutoffs", act, how, str(root.home), where]
    environ = os.environ | {"PYTHONPATH": str(TOP)}
    done = subprocess.run(argv, cwd=TOP, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["points"] > 20
    return set(seen["outcomes"])


def main(act: str, how: str, home: str, where: str = "own") -> None:
    outcomes, point, code = Counter[str](), 0, DONE
    is_elsewhere = where == "elsewhere"
    while code != PAST:
        point += 1
        stage = Stage(Path(home), is_elsewhere)
        stage.build()
        code = child(stage, act, how, point)
        assert code in ((PAST, -signal.SIGKILL) if how == "kill" else (PAST, DONE, REFUSED)), code
        stage = Stage(Path(home), is_elsewhere, how == "kill")
        is_at_rest = Journal(stage.root).load() is None
        if how == "kill" or not is_at_rest:
            stage.recover()
        try:
            outcomes[stage.outcome()] += 1
        except BaseException:
            print(f"cut {act} at {point} ({how}), journal {'gone' if is_at_rest else 'there'}", file=sys.stderr)
            raise
    print(json.dumps({"points": point - 1, "outcomes": outcomes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
