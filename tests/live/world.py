"""A private root with a real server, real tmux and scripted peers, driven through the command line."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mcp_server.cli.context import Context
from mcp_server.cli.main import run
from tests.live.warm import OURS, TOP, Server, origin
from transport.paths import Root
from transport.process import ProcessId, identify, terminate

T = TypeVar("T")


def until(question: Callable[[], T | None], seconds: float = 10.0, what: str = "it") -> T:
    """Poll until `question` answers something true, or fail; a busy machine has thrice the time."""
    deadline = time.monotonic() + 3 * seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in {3 * seconds:g} s; last answer: {answer!r}")
        time.sleep(0.01)


@dataclass
class World:
    """One root; `close` stops every server and session it started.

    `prefix` are the words before each command line, of a program that runs the rest in its own place. With `is_cold`
    each server is a process that imports everything itself, also in a test.
    """

    root: Root
    extra: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    servers: list[Server] = field(default_factory=list)
    is_cold: bool = False

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PEER", "TMUX"))}
        ours = {
            "HOME": str(self.root.home / "home"),
            "PEERWAKE_HOME": str(self.root.home),
            "PEERWAKE_TCP": "false",
            "PEERWAKE_SYSTEMD_SCOPE": "false",
            **OURS,
        }
        return kept | ours | self.extra

    def start_server(self, *flags: str) -> Server:
        """Start a server (or a standby) and return at once."""
        (self.root.home / "home").mkdir(exist_ok=True)
        if not self.root.config.exists():
            # For the servers that the bridges of sessions start: they do not get our environment.
            self.root.config.write_text("tcp = false\nsystemd_scope = false\n")
        with (self.root.logs / "server.log").open("ab") as log:
            source = None if self.is_cold or self.prefix else origin(self.env)
            if source is not None:
                server: Server = source.start(("serve", *flags), self.env, TOP, log.fileno())
            else:
                argv = [*self.prefix, sys.executable, "-m", "mcp_server", "serve", *flags]
                server = subprocess.Popen(argv, env=self.env, cwd=TOP, stdout=log, stderr=log)
        self.servers.append(server)
        return server

    def serve(self, *flags: str) -> Server:
        """Start a server and return when it answers; one that a bridge was quicker to start is ended."""
        server = self.start_server(*flags)
        until(lambda: self._leads(server), 60, f"the start of a server ({self.log('server')})")
        return server

    def _leads(self, server: Server) -> bool:
        pid = self.server_pid()
        if pid is not None and pid not in {each.pid for each in self.servers} and self._is_of_this_root(pid):
            os.kill(pid, signal.SIGTERM)
        return pid == server.pid

    def _is_of_this_root(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            return False
        return f"PEERWAKE_HOME={self.root.home}".encode() in environment

    def server_pid(self) -> int | None:
        """Return the pid that the server's discovery file names, None without one."""
        try:
            return int(json.loads(self.root.discovery.read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return None

    def run(
        self, *words: str, stdin: str | None = None, cwd: Path = TOP, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one peerwake command to its end."""
        argv = [*self.prefix, sys.executable, "-m", "mcp_server", *words]
        return subprocess.run(
            argv,
            env=self.env | (env or {}),
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *words: str) -> Any:
        """Run one peerwake command with --json and return its document."""
        done = self.run(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def create(self, name: str, *flags: str, rules: list[dict[str, Any]] | None = None) -> Path:
        """Create a scripted peer with its rules; returns its directory."""
        words = ("create", name, "--runtime", "scripted", *flags)
        if self.prefix:
            done = self.run(*words)
            assert done.returncode == 0, done.stderr
        else:
            said = io.StringIO()
            assert run(Context(self.env, said, said), [*words]) == 0, said.getvalue()
        cwd = self.root.peers / name
        (cwd / "scripted.json").write_text(json.dumps(rules or []))
        return cwd

    def send(self, name: str, body: str, *flags: str) -> dict[str, Any]:
        """Send one message and return the result."""
        result: dict[str, Any] = self.json("send", name, body, *flags)
        return result

    def transcript(self, name: str) -> list[dict[str, Any]]:
        """Return all records of a scripted peer's transcripts, oldest session first."""
        paths = (self.root.peers / name / ".peerwake/runtimes/scripted").glob("*.jsonl")
        records: list[dict[str, Any]] = []
        for path in sorted(paths, key=lambda path: path.stat().st_ctime):
            for line in path.read_text("utf-8").splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    continue
        return records

    def prompts(self, name: str) -> list[str]:
        """Return what a scripted peer took as prompts."""
        return [record["text"] for record in self.transcript(name) if record["type"] == "user"]

    def state(self, name: str) -> str:
        """Return the state of a peer's default presence."""
        (row,) = [row for row in self.json("list")["peers"] if row["name"] == name]
        return str(row["runtimes"][0]["state"])

    def depth(self, name: str) -> int:
        """Return how many messages of a peer are not settled."""
        return sum(row["depth"] for row in self.json("queue", name)["queues"])

    def session(self, identity: str) -> dict[str, Any]:
        """Return the record of a session."""
        data: dict[str, Any] = json.loads((self.root.state / f"{identity}.session").read_text())
        return data

    def tmux(self, identity: str) -> ProcessId:
        """Return the tmux server of a live session."""
        server = self.session(identity)["tmux"]
        return ProcessId(server["pid"], server["started"])

    def log(self, name: str) -> str:
        """Return a log file, empty when there is none."""
        path = self.root.logs / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def close(self) -> None:
        """End every server and every session, by process id: sessions at once, or their bridges start a server."""
        for server in self.servers:
            if server.poll() is None:
                server.send_signal(signal.SIGCONT)
                server.terminate()
        self._end_sessions()
        for server in self.servers:
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(5)
        background = self.server_pid()
        if background is not None:
            left = identify(background)
            if left is not None and terminate(left):
                until(lambda: identify(background) != left, 15, "the end of a background server")
        self._end_sessions()
        until(self._has_no_strays, 15, "the end of what a bridge started meanwhile")

    def _has_no_strays(self) -> bool:
        """Kill every process that was given this root; True when there was none."""
        found = 0
        for path in Path("/proc").glob("[0-9]*"):
            pid = int(path.name)
            process = identify(pid) if self._is_of_this_root(pid) else None
            found += process is not None and terminate(process, signal.SIGKILL)
        return not found

    def _end_sessions(self) -> None:
        """Kill every tmux server that a session record names, and its agent."""
        for record in self.root.state.glob("*.session"):
            try:
                data = json.loads(record.read_text())
                found = [ProcessId(each["pid"], each["started"]) for each in (data["tmux"], data["pane"]) if each]
            except (OSError, ValueError, KeyError, TypeError):
                continue
            for process in found:
                terminate(process, signal.SIGCONT)
                terminate(process, signal.SIGKILL)
