"""The whole product with the real clients: `peerwake serve` and the command line, in a private world.

    async with Product(rules) as product:
        await product.create("alice", "claude")
        await product.serve()
        sent = await product.send("alice", "hello")              # the JSON of `peerwake send`
        alice = await product.client("alice")                    # look at its session, type like a person
        assert product.taken(alice) == [sent["message_id"]]

Nothing is configured but by `peerwake create`; the clients find the scripted model through variables of
the server's environment. A failure inside the world carries the last lines of its logs as a note.
"""

import json
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from anyio.abc import Process

from lifecycle.runtimes.base import SessionFacts
from lifecycle.runtimes.table import BUILT_IN, READERS
from lifecycle.session import Session, Sessions
from tests.clients.client import Client, eventually
from tests.clients.harness import ClientWorld
from tests.live.control import Control
from tests.model_server import Rule
from tests.model_wire import Role
from transport.clock import SystemClock
from transport.identity import Identity
from transport.tmux.control import ControlClient
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux
from transport.tmux.server import Started
from transport.vocabulary import Receipt

LAST_LINES: Final = 60


def tail(path: Path) -> str:
    """Return the last lines of a log under a heading, or why there are none."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except OSError as error:
        return f"--- {path.name}: {error.strerror}"
    shown = lines[-LAST_LINES:]
    return "\n".join([f"--- {path.name}, the last {len(shown)} of {len(lines)} lines:", *shown])


class Product(ClientWorld):
    """A ClientWorld with servers; `settings` are PEERWAKE_* variables of the server, without the prefix."""

    def __init__(
        self, rules: Sequence[Rule] = (), *, ordinary_user: bool = False, settings: Mapping[str, object] | None = None
    ) -> None:
        ClientWorld.__init__(self, rules, ordinary_user)
        self._python: str | None = None
        self.settings = {f"PEERWAKE_{name.upper()}": str(value) for name, value in (settings or {}).items()}
        self.servers: list[Process] = []
        self.views: list[Client] = []

    @property
    def python(self) -> str:
        """The interpreter for the user of this world; skips, and says so, where there is none."""
        if self._python is None:
            try:
                self._python = str(ClientWorld.python.fget(self))  # type: ignore[attr-defined]
            except RuntimeError as error:
                pytest.skip(f"NO ORDINARY USER: {error}")
        return self._python

    async def __aexit__(self, *exc: object) -> None:
        for error in exc:
            if isinstance(error, BaseException):
                error.add_note(self.last_lines())
        with anyio.CancelScope(shield=True):
            for client in self.views:
                await client.pane.aclose()
            for server in self.servers:
                if server.returncode is None:
                    server.terminate()
                await server.wait()
        await ClientWorld.__aexit__(self, *exc)

    @property
    def environ(self) -> dict[str, str]:
        """The operator's environment, with the settings of this world."""
        theirs = ClientWorld.environ.fget(self)  # type: ignore[attr-defined]
        return dict(theirs) | {"PEERWAKE_SYSTEMD_SCOPE": "false"} | self.settings

    async def json(self, *words: str) -> Any:
        """Run one command with --json and return its document."""
        done = await self.peerwake(*words, "--json")
        assert done.stdout, f"{words} ended with {done.status}: {done.stderr}"
        return json.loads(done.stdout)

    async def create(self, name: str, runtime: str, *flags: str) -> Path:
        """Make a peer and return its directory."""
        done = await self.peerwake("create", name, "--runtime", runtime, *flags)
        assert done.status == 0, done.stdout + done.stderr
        return self.root.peers / name

    def runtime_file(self, name: str, text: str) -> None:
        """Lay a TOML file over a runtime, as a user would."""
        path = self.root.runtimes / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self.hand_over(path.parent)

    async def serve(self) -> Process:
        """Start a server and return when it answers."""
        self.root.discovery.unlink(missing_ok=True)
        argv = (*self.prefix, self.python, "-m", "mcp_server", "serve")
        with (self.base / "serve.log").open("ab") as log:
            server = await anyio.open_process(argv, stdout=log, stderr=log, env=self.environ, cwd=self.base)
        self.servers.append(server)

        async def is_up() -> bool | None:
            assert server.returncode is None, (self.base / "serve.log").read_text()
            return True if self.root.discovery.exists() else None

        assert await eventually(is_up, 30), "the server does not answer"
        return server

    async def kill_server(self) -> None:
        """End the server as a crash does."""
        self.servers[-1].send_signal(signal.SIGKILL)
        await self.servers[-1].wait()

    async def send(self, name: str, body: str, *flags: str) -> dict[str, Any]:
        """Send one message from the command line and return the result."""
        result: dict[str, Any] = await self.json("send", name, body, *flags)
        return result

    def queue(self, name: str, *bodies: str) -> list[dict[str, Any]]:
        """Send messages as fast as it goes and return the results, without waiting for any receipt."""
        with Control(self.root) as control:
            return [control.send(name, body, wait_seconds=0) for body in bodies]

    def attach(self, name: str) -> dict[str, Any]:
        """Ask the server what `peerwake attach` asks it; returns what the terminal is to be attached to."""
        with Control(self.root) as control:
            answer = control.call("attach", name=name)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    async def row(self, name: str) -> dict[str, Any]:
        """Return what `peerwake list` says of a peer's first runtime."""
        (peer,) = [each for each in (await self.json("list"))["peers"] if each["name"] == name]
        runtime: dict[str, Any] = peer["runtimes"][0]
        return runtime

    async def state(self, name: str, wanted: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until `peerwake list` shows a state."""
        rows: list[dict[str, Any]] = []

        async def look() -> dict[str, Any] | None:
            rows[:] = [await self.row(name)]
            return rows[0] if rows[0]["state"] == wanted else None

        found = await eventually(look, seconds)
        assert found is not None, f"{name} does not become {wanted}: {rows}"
        return found

    async def depth(self, name: str) -> int:
        """Return how many messages of a peer are not settled."""
        return sum(int(row["depth"]) for row in (await self.json("queue", name))["queues"])

    async def emptied(self, *names: str, seconds: float = 30.0) -> None:
        """Wait until nothing waits for these peers."""

        async def look() -> bool | None:
            return True if not any([await self.depth(name) for name in names]) else None

        assert await eventually(look, seconds), f"queues: {await self.json('queue')}\n{self.log('delivery')}"

    def session(self, name: str) -> Session:
        """Return the record of a peer's live session."""
        profile = json.loads((self.root.peers / name / ".peerwake/profile.json").read_text())
        found = Sessions(self.root).load(Identity(profile["default_runtime"], name))
        assert found is not None, f"{name} has no session; lifecycle.log says:\n{self.log('lifecycle')}"
        return found

    async def client(self, name: str, seconds: float = 30.0) -> Client:
        """Return a view of a peer's session as soon as there is one, with a control client of its own."""

        async def look() -> Session | None:
            try:
                session = self.session(name)
            except AssertionError:
                return None
            return session if session.pane_id else None

        session = await eventually(look, seconds)
        assert session is not None, f"{name} has no session:\n{self.log('lifecycle')}"
        assert session.tmux and session.pane
        clock = SystemClock()
        runtime = session.identity.runtime
        socket = self.root.tmux_socket(session.identity)
        control = ControlClient(
            tmux=find_tmux(),
            socket=socket,
            session=str(session.identity),
            server=session.tmux,
            clock=clock,
            owner=self.uid,
        )
        facts = SessionFacts(
            session.session_id,
            Path(session.cwd),
            session.woke_at,
            session.client_env,
            pane_pid=session.pane.pid,
            session_ref=session.session_ref,
        )
        client = Client(
            BUILT_IN[runtime],
            READERS[runtime],
            Pane(control, session.pane_id, clock),
            facts,
            Started(session.tmux, session.pane_id, session.pane),
            socket,
            clock,
        )
        self.views.append(client)
        return client

    def records(self, client: Client) -> list[tuple[str, Receipt]]:
        """Return what a client's transcript proves, in the order it was written."""
        path = client.reader.locate(client.facts)
        lines = path.read_bytes().splitlines() if path else []
        return [found for line in lines if (found := client.reader.parse(line)) is not None]

    def taken(self, client: Client) -> list[str]:
        """Return the ids of the messages that a client took, in order; twice for one that was taken twice."""
        return [message_id for message_id, receipt in self.records(client) if receipt is Receipt.CONSUMED]

    async def takes(self, client: Client, message_ids: Sequence[str], seconds: float = 60.0) -> None:
        """Wait until a client has taken these messages; they must be all, once, in this order."""

        async def look() -> bool | None:
            return True if len(self.taken(client)) >= len(message_ids) else None

        await eventually(look, seconds)
        assert self.taken(client) == list(message_ids), f"{self.log('delivery')}\n{await client.reading()}"

    def results(self, text: str) -> list[str]:
        """Return the results of tools that hold `text`, as the models saw them."""
        found = {
            event.text
            for conversation in self.model.conversations()
            for event in conversation.events
            if event.role is Role.RESULT and text in event.text
        }
        return sorted(found)

    def last_lines(self) -> str:
        """Return the ends of the logs, for whoever reads of a failure when this world is gone."""
        logs = (self.root.logs / f"{name}.log" for name in ("lifecycle", "delivery", "exits"))
        return "\n".join(map(tail, (*logs, self.base / "serve.log")))

    def log(self, name: str) -> str:
        """Return a log file, empty when there is none."""
        path = self.root.logs / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""
