"""The parts of a server in this process, over a private root: real spool, real tmux, scripted agents."""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import anyio

from lifecycle.attribution import listening
from lifecycle.deck import Deck
from lifecycle.requests import SendRequest, SendResult
from lifecycle.session import Session
from lifecycle.supervise import Supervisor
from mcp_server.settings import Settings
from mcp_server.wiring import Wired, wired
from transport.clock import Clock
from transport.identity import OPERATOR, Identity
from transport.message import check_draft
from transport.paths import Root
from transport.process import ProcessId, identify, terminate
from transport.profile import make_profile
from transport.tmux.program import find_tmux
from transport.vocabulary import WakePolicy

QUICK: Mapping[str, Any] = {"backoff_seconds": 0.05, "blocked_seconds": 1.0, "human_quiet_seconds": 0.0}


async def until(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 60.0) -> Any:
    """Poll until the condition holds and return what it says."""
    with anyio.fail_after(seconds):
        while True:
            value = condition()
            value = await value if isinstance(value, Awaitable) else value
            if value:
                return value
            await anyio.sleep(0.01)


@dataclass
class Workshop:
    """One set of parts; `supervisor` runs only where a test starts it."""

    root: Root
    parts: Wired

    @property
    def supervisor(self) -> Supervisor:
        return self.parts.supervisor

    @property
    def deck(self) -> Deck:
        return self.parts.supervisor.deck

    def peer(
        self, name: str = "alice", policy: WakePolicy = WakePolicy.WARM, script: Any = None, **fields: Any
    ) -> Identity:
        """Make a scripted peer without any MCP server of its own."""
        known = {"runtimes": ("scripted",), "default_runtime": "scripted", "cwd": self.root.peers / name}
        whose = {"host": "here", "tenant_id": "me", "created_at": "2026-11-20T00:00:00+00:00"}
        profile = make_profile(name=name, wake_policy=policy, **(known | whose | fields))
        self.parts.application.registry.add(profile)
        (profile.cwd / "scripted.json").write_text(json.dumps(script or []))
        return Identity(profile.default_runtime, name)

    async def send(
        self,
        name: str = "alice",
        body: str = "hello",
        sender: Identity = OPERATOR,
        wait: float | None = None,
        **draft: Any,
    ) -> SendResult:
        request = SendRequest(name, check_draft(body, **draft), wait_seconds=wait)
        return await self.parts.application.send(sender, request)

    def record(self, identity: Identity) -> Session:
        found = self.deck.sessions.load(identity)
        assert found is not None
        return found

    def prompts(self, name: str = "alice") -> list[str]:
        """What a scripted peer took as prompts, without the envelope."""
        paths = sorted(
            (self.root.peers / name / ".peerwake/runtimes/scripted").glob("*.jsonl"),
            key=lambda path: path.stat().st_ctime,
        )
        records = [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
        return ["\n".join(each["text"].splitlines()[1:-1]) for each in records if each["type"] == "user"]

    def tmux(self, identity: Identity, *words: str) -> str:
        """Run a tmux command as a person at a shell would."""
        argv = [find_tmux(), "-S", str(self.root.tmux_socket(identity)), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout

    def log(self, name: str = "lifecycle") -> str:
        path = self.root.logs / f"{name}.log"
        return path.read_text() if path.exists() else ""

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Run the supervisor; at the end it is gone without a farewell, as after a kill."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.supervisor.run)
            yield
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def workshop(root: Root, *, clock: Clock | None = None, **limits: Any) -> AsyncIterator[Workshop]:
    """Build the parts; every tmux server of the root is ended afterwards."""
    (root.home / "home").mkdir(exist_ok=True)
    known = Settings(systemd_scope=False)
    settings = replace(known, limits=replace(known.limits, **(QUICK | limits)))
    operator = {"PATH": os.environ["PATH"], "HOME": str(root.home / "home"), "LC_ALL": "C.UTF-8"}
    async with wired(root, settings, operator=operator, clock=clock) as parts:
        try:
            yield Workshop(root, parts)
        finally:
            with anyio.CancelScope(shield=True):
                await _end_all(root)


async def _end_all(root: Root) -> None:
    servers = listening(root)
    for _, server in servers:
        for number in (signal.SIGCONT, signal.SIGKILL):
            terminate(server, number)
    for _, server in servers:
        await until(lambda server=server: not server.is_alive())


def me() -> ProcessId:
    found = identify(os.getpid())
    assert found is not None
    return found
