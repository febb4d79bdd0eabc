"""A team at work while its server is replaced: who lives, who waits, and the books at the end."""

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.live.control import Control
from tests.live.world import TOP, World, until
from transport.envelope import opening_id
from transport.identity import Identity
from transport.process import ProcessId, identify, terminate

CALM = tuple(f"calm{number}" for number in range(5))
BUSY = tuple(f"busy{number}" for number in range(3))
SLOW = tuple(f"slow{number}" for number in range(2))
TEAM = (*CALM, *BUSY, *SLOW)
WORKER = "worker"
CONFIG = """
tcp = false
systemd_scope = false
backoff_seconds = 0.2
backoff_max_seconds = 1
ephemeral_quiet_seconds = 0.3
stop_seconds = 1
tick_seconds = 1
"""
NEWER = (
    "import sys; import mcp_server.version as version; version.VERSION = '99.0.0';"
    " from mcp_server.cli.main import main; sys.exit(main(['serve']))"
)


def identity(name: str) -> str:
    return f"scripted-{name}"


@dataclass(frozen=True)
class Alive:
    """What a session consists of: it is the same one as long as all of this is the same."""

    fence: str
    tmux: ProcessId
    agent: ProcessId


@dataclass
class Answer:
    """What a sender was told: a result, a refusal, or that the connection broke."""

    result: dict[str, Any] | None = None
    error: str | None = None


@dataclass
class Sender:
    """One message sent by a thread of its own, again with the same key until it is answered, as a client does."""

    root: Any
    recipient: str
    body: str
    wait_seconds: float
    origin: str = ""
    answers: list[Answer] = field(default_factory=list)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name=f"to {self.recipient}")
        self.thread.start()

    def _run(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                with Control(self.root) as control:
                    args = {"personality": self.recipient, "message": self.body, "idempotency_key": self.body}
                    args |= {"from": self.origin} if self.origin else {}
                    answer = control.call("send", wait_seconds=self.wait_seconds, **args)
            except (OSError, KeyError, ValueError) as error:
                if not self.answers or self.answers[-1].error != repr(error):
                    self.answers.append(Answer(error=repr(error)))
                time.sleep(0.02)
                continue
            if answer["ok"]:
                self.answers.append(Answer(result=answer["result"]))
                return
            self.answers.append(Answer(error=answer["error"]["code"]))
            return

    def answered(self) -> dict[str, Any]:
        """Return the result that the sender was given at last."""
        self.thread.join(90)
        assert not self.thread.is_alive(), f"{self.thread.name} still waits"
        last = self.answers[-1]
        assert last.result is not None, f"{self.recipient}: {self.answers}"
        return last.result


class Flow:
    """A sender that goes on and on, to one recipient after the other, whatever happens to the server."""

    def __init__(self, team: "Team", name: str, pause_seconds: float = 0.03) -> None:
        self.team = team
        self.name = name
        self.pause_seconds = pause_seconds
        self.told: list[Answer] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, name=name)
        self.thread.start()

    def _run(self) -> None:
        number = 0
        while not self.over.wait(self.pause_seconds):
            recipient = TEAM[number % len(TEAM)]
            sender = Sender(self.team.world.root, recipient, f"{self.name} {number}", 0)
            sender.thread.join(90)
            self.told.append(sender.answers[-1] if sender.answers else Answer(error="never"))
            number += 1

    def finish(self) -> int:
        """Stop sending; returns how many messages were accepted, all of them."""
        self.over.set()
        self.thread.join(100)
        assert all(answer.result is not None for answer in self.told), [each.error for each in self.told if each.error]
        return len(self.told)


class Bridge:
    """An agent's client: a real bridge process in a peer's directory, asked line by line."""

    def __init__(self, world: World, name: str) -> None:
        argv = [sys.executable, "-I", "-S", str(TOP / "mcp_server/serve/bridge.py"), "--home", str(world.root.home)]
        self.process = subprocess.Popen(
            argv, env=world.env, cwd=world.root.peers / name, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        self.write(id=0, method="initialize", params=client)
        assert "result" in self.read(0)
        self.write(method="notifications/initialized")

    def write(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def read(self, number: int) -> dict[str, Any]:
        """Return the answer to one request; what else comes in between is passed over."""
        assert self.process.stdout is not None
        while True:
            line = self.process.stdout.readline()
            assert line, "the bridge ended"
            message: dict[str, Any] = json.loads(line)
            if message.get("id") == number:
                return message

    def send(self, number: int, recipient: str, body: str, wait_seconds: float) -> None:
        arguments = {"personality": recipient, "message": body, "wait_seconds": wait_seconds}
        self.write(id=number, method="tools/call", params={"name": "send_to_peer", "arguments": arguments})

    def answered(self, number: int) -> dict[str, Any]:
        """Return the result of a call; a call that failed fails the test."""
        answer = self.read(number)
        assert "result" in answer and not answer["result"].get("isError"), answer
        result: dict[str, Any] = answer["result"]["structuredContent"]
        return result

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()


class Team:
    """Ten peers and a worker: half calm, three in long turns, two booting slowly, all with messages."""

    def __init__(self, world: World, busy_seconds: float = 8.0, boot_seconds: float = 8.0) -> None:
        self.world = world
        self.sent: dict[str, list[str]] = {}
        world.root.config.write_text(CONFIG)
        for name in CALM:
            world.create(name)
        for name in BUSY:
            world.create(name, rules=[{"match": "^long", "busy_seconds": busy_seconds}])
        for name in SLOW:
            world.create(name)
            script = {"boot": {"seconds": boot_seconds}, "rules": []}
            (world.root.peers / name / "scripted.json").write_text(json.dumps(script))
        world.create(WORKER, "--ephemeral", rules=[{"busy_seconds": busy_seconds / 3, "reply": "done {body}"}])

    def send(self, control: Control, recipient: str, body: str, wait_seconds: float = 0, sender: str = "") -> None:
        extra = {"from": sender} if sender else {}
        control.send(recipient, body, wait_seconds=wait_seconds, **extra)

    def set_to_work(self) -> None:
        """Wake everybody, begin the long turns and the slow boots, and queue messages behind them."""
        with Control(self.world.root) as control:
            for name in (*CALM, *BUSY):
                self.send(control, name, f"{name} hello", 30)
            for name in BUSY:
                self.send(control, name, f"long {name}", 30)
            for name in SLOW:
                self.send(control, name, f"{name} first")
            for number in range(2):
                self.send(control, WORKER, f"task {number}", sender="calm0")
            for number in range(2):
                for name in (*BUSY, *SLOW):
                    self.send(control, name, f"{name} queued {number}")
        until(lambda: all(self.alive(name) for name in (*TEAM, WORKER)), 30, "the sessions")

    def alive(self, name: str) -> Alive | None:
        """Return the live session of a peer, None while there is none."""
        try:
            record = self.world.session(identity(name))
            tmux, agent = (ProcessId(each["pid"], each["started"]) for each in (record["tmux"], record["pane"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Alive(record["fence"], tmux, agent) if tmux.is_alive() and agent.is_alive() else None

    def living(self) -> dict[str, Alive | None]:
        """Return the session of each of the ten."""
        return {name: self.alive(name) for name in TEAM}

    def settled(self, seconds: float = 60) -> None:
        """Wait until every queue is empty."""
        deadline = time.monotonic() + seconds
        while waiting := self.waiting():
            assert time.monotonic() < deadline, f"still waiting: {waiting}\n{self.world.log('lifecycle')[-3000:]}"
            time.sleep(0.05)

    def waiting(self) -> list[dict[str, Any]] | str:
        """Return the queues that are not empty, or why nobody can tell."""
        try:
            with Control(self.world.root) as control:
                rows = control.call("queue")["result"]["rows"]
        except (OSError, KeyError, ValueError) as error:
            return repr(error)
        return [row for row in rows if row["depth"]]

    def accepted(self) -> dict[str, list[str]]:
        """Return the ids of all accepted messages by their recipient, in the order of acceptance."""
        with closing(sqlite3.connect(f"file:{self.world.root.spool}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT recipient, id FROM messages ORDER BY seq").fetchall()
        found: dict[str, list[str]] = {}
        for recipient, message_id in rows:
            found.setdefault(Identity(*recipient.split("-", 1)).personality, []).append(message_id)
        return found

    def taken(self, name: str) -> list[str]:
        """Return the ids of the messages that an agent took, in its order."""
        return [found for text in self.world.prompts(name) if (found := opening_id(text)) is not None]

    def balance(self) -> None:
        """Every accepted message was taken once, in order, by nobody else; none was sent twice, none given up."""
        accepted = self.accepted()
        assert {name: self.taken(name) for name in accepted} == accepted
        for name in (*TEAM, WORKER):
            assert set(self.taken(name)) <= set(accepted.get(name, ()))
            bodies = [text.splitlines()[1] for text in self.world.prompts(name)]
            assert len(set(bodies)) == len(bodies), bodies
        with closing(sqlite3.connect(f"file:{self.world.root.spool}?mode=ro", uri=True)) as database:
            states = dict(database.execute("SELECT state, count(*) FROM messages GROUP BY state").fetchall())
        assert set(states) == {"consumed"}, states

    def sessions_of(self, name: str) -> int:
        """Return how many conversations a peer has had."""
        return len(list((Path(self.world.root.peers) / name / ".peerwake/runtimes/scripted").glob("*.jsonl")))


def serve_newer(world: World) -> "subprocess.Popen[bytes]":
    """Start a server of a newer version, a standby while another one supervises."""
    with (world.root.logs / "server.log").open("ab") as log:
        argv = [sys.executable, "-c", NEWER]
        server = subprocess.Popen(argv, env=world.env, cwd=TOP, stdout=log, stderr=log)
    world.servers.append(server)
    return server


def status(world: World) -> dict[str, Any] | None:
    """Return what the server that answers now says of itself, None when none does."""
    try:
        with Control(world.root, 5) as control:
            result: dict[str, Any] = control.call("status")["result"]
    except (OSError, ValueError, KeyError):
        return None
    return result


def replaced(world: World, former: int, seconds: float = 20) -> dict[str, Any]:
    """Wait until another server than `former` answers."""

    def found() -> dict[str, Any] | None:
        now = status(world)
        return now if now is not None and now["pid"] != former and now["role"] == "supervisor" else None

    return until(found, seconds, f"the next server ({world.log('server')[-600:]})")


def deaths(world: World) -> str:
    """Return what the logs say of anybody's death."""
    events = ("session-gone", "server-dead", "wake-failed", "crash", "mass-death")
    lines = [line for line in world.log("lifecycle").splitlines() if any(f"ev={event}" in line for event in events)]
    return "\n".join([*lines, world.log("exits")]).strip()


def standing_by(world: World) -> None:
    """Wait until a standby has said that it is one."""
    until(lambda: "standing by" in world.log("server"), 20, f"the standby ({world.log('server')[-600:]})")


def restarted(world: World, former: int = 0) -> int:
    """Start a server and return the pid of the one that supervises then: this one, or one that a bridge started."""
    world.start_server()
    return int(replaced(world, former)["pid"])


def end(world: World, pid: int, number: signal.Signals) -> None:
    """End a server, by a stop or by a kill, and see that it ended as it should."""
    ours = next((server for server in world.servers if server.pid == pid), None)
    process = identify(pid)
    assert process is not None and terminate(process, number)
    if ours is None:
        until(lambda: not process.is_alive(), 20, f"the end of {pid}")
    else:
        assert ours.wait(20) == (0 if number is signal.SIGTERM else -number)
