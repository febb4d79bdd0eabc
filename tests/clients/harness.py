"""The real clients in a private world: own HOME, own PEERWAKE_HOME, own tmux, a scripted model.

    async with ClientWorld([Rule("ping", Say("pong"))]) as world:
        client = await world.start("claude", "alice")        # in tmux, past its dialogs, ready
        await client.submit(envelope)                        # paste and Enter
        assert await client.receipt(message_id) is Receipt.CONSUMED
        assert world.model.count("ping") == 1

`world.environ` is the environment of an operator of that world, for tests of the whole product;
`world.peerwake("create", "alice", …)` runs one command, `async with world.server():` the server.
On leaving, every process that carries the world's PEERWAKE_HOME or HOME is ended by its pid, then the
directory is removed.

The programs come from the directory that PEERWAKE_CLIENTS_BIN names (`claude` and `codex` in it).
"""

import json
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from lifecycle.boot import BootEnd
from lifecycle.runtimes.base import LaunchSpec, SessionFacts
from lifecycle.runtimes.table import BUILT_IN, READERS
from lifecycle.states import Mode
from mcp_server.clients.connection import Connection
from mcp_server.clients.table import configure
from tests.clients.client import Client, eventually
from tests.model_server import ModelServer, Rule
from transport.clock import SystemClock
from transport.paths import Root
from transport.process import Finished, ProcessId, identify, run, terminate
from transport.tmux.control import ControlClient
from transport.tmux.ending import wait_dead
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux
from transport.tmux.server import ServerSpec, start
from transport.vocabulary import ScreenState

VARIABLE = "PEERWAKE_CLIENTS_BIN"
TOP = Path(__file__).parents[2]
NOBODY = 65534
STARTS = 3
OVERLOADED = "timed out discarding buffered terminal input"
"""What Codex says when it ends at once because the machine is too slow for it; it is started again."""
SETPRIV = ("/usr/bin/setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs")
CODEX_CONFIG = """\
model = "gpt-5.5-codex"
model_provider = "scripted"
check_for_update_on_startup = false

[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "OPENAI_API_KEY"
request_max_retries = 2
"""


def clients_bin() -> Path | None:
    """Return the directory of the real clients, None when there is none."""
    named = os.environ.get(VARIABLE)
    path = Path(named) if named else None
    return path if path and all((path / name).exists() for name in ("claude", "codex")) else None


@dataclass(slots=True)
class ClientWorld:
    """See the module. `ordinary_user` runs the clients as uid 65534 (`nobody`), for which it must be root."""

    rules: Sequence[Rule] = ()
    ordinary_user: bool = False
    base: Path = field(init=False)
    model: ModelServer = field(init=False)
    clients: list[Client] = field(default_factory=list, init=False)

    async def __aenter__(self) -> "ClientWorld":
        if clients_bin() is None:
            raise RuntimeError(f"set {VARIABLE} to the directory that holds claude and codex")
        self.base = Path(tempfile.mkdtemp(prefix="pwc-", dir="/tmp"))
        self.model = ModelServer(self.rules)
        self.model.__enter__()
        self.root.home.mkdir(mode=0o700)
        self.root.prepare()
        self.seed()
        self.hand_over(self.base, self.home)
        return self

    async def __aexit__(self, *exc: object) -> None:
        with anyio.CancelScope(shield=True):
            for client in self.clients:
                await client.end()
            await self._end_everything()
        self.model.__exit__()
        shutil.rmtree(self.base, ignore_errors=True)

    @property
    def home(self) -> Path:
        return self.base / "home"

    @property
    def root(self) -> Root:
        """The PEERWAKE_HOME of this world."""
        return Root(self.base / "pw")

    @property
    def environ(self) -> dict[str, str]:
        """The environment of an operator who has both clients installed and talks to the scripted model."""
        tools = dict.fromkeys(str(Path(found).parent) for name in ("node", "tmux") if (found := shutil.which(name)))
        path = [str(clients_bin()), str(Path(sys.executable).parent), *tools, "/usr/bin", "/bin"]
        return {
            "HOME": str(self.home),
            "USER": "tester",
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TERM": "xterm-256color",
            "PATH": os.pathsep.join(path),
            "PEERWAKE_HOME": str(self.root.home),
            "ANTHROPIC_BASE_URL": self.model.url,
            "ANTHROPIC_AUTH_TOKEN": "scripted-token",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "OPENAI_API_KEY": "scripted-key",
            "PYTHONPATH": os.pathsep.join((str(TOP), sysconfig.get_path("purelib"))),
            "PEERWAKE_PORT": "0",
        }

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words before a command that make it run as the ordinary user, if there is one."""
        return SETPRIV if self.ordinary_user else ()

    @property
    def uid(self) -> int:
        """Whose the clients are, and all that they make."""
        return NOBODY if self.ordinary_user else os.geteuid()

    @property
    def python(self) -> str:
        """An interpreter of this version that the user of this world may run; raises RuntimeError."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        again = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'import sqlite3']))"
        for path in (sys.executable, shutil.which(version, path="/usr/local/bin:/usr/bin")):
            if path and run((*self.prefix, path, "-c", again), deadline=20, cwd=Path("/")).status == 0:
                return path
        raise RuntimeError(f"uid {NOBODY} may not run {sys.executable}, and there is no other {version}")

    def seed(self) -> None:
        """Make a HOME of somebody who has logged in once and trusts no directory yet."""
        self.home.mkdir(mode=0o700)
        (self.home / ".claude.json").write_text(json.dumps({"hasCompletedOnboarding": True}))
        (self.home / ".codex").mkdir(mode=0o700)
        (self.home / ".codex" / "config.toml").write_text(CODEX_CONFIG.format(url=self.model.url))

    def hand_over(self, *paths: Path) -> None:
        """Give directories and what is in them to the ordinary user, if there is one."""
        if not self.ordinary_user:
            return
        for path in (each for top in paths for each in (top, *top.rglob("*"))):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def directory(self, name: str) -> Path:
        """Return a peer's working directory, made if need be."""
        path = self.base / "peers" / name
        path.mkdir(parents=True, exist_ok=True)
        self.hand_over(path.parent)
        return path

    def configure(self, runtime: str, name: str, connection: Connection | None = None) -> Path:
        """Write the client's configuration of a peer's directory, by default for a bridge that is not there."""
        directory = self.directory(name)
        chosen = connection or Connection(command=sys.executable, args=("-c", "raise SystemExit(1)"))
        configure(runtime, directory, chosen, environ=self.environ)
        self.hand_over(directory)
        return directory

    def trust(self, runtime: str, directory: Path) -> None:
        """Note a directory as trusted, as the client does when its user says so."""
        if runtime == "claude":
            path = self.home / ".claude.json"
            state = json.loads(path.read_text())
            state.setdefault("projects", {}).setdefault(str(directory), {})["hasTrustDialogAccepted"] = True
            path.write_text(json.dumps(state))
            return
        path = self.home / ".codex" / "config.toml"
        if f'[projects."{directory}"]' not in path.read_text():
            with path.open("a") as config:
                config.write(f'\n[projects."{directory}"]\ntrust_level = "trusted"\n')

    async def launch(
        self,
        runtime: str,
        name: str,
        *,
        resume: str | None = None,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        size: tuple[int, int] = (200, 50),
    ) -> Client:
        """Start a client in its directory as the product does, and return at once; `argv` is appended."""
        known = BUILT_IN[runtime]
        spec = LaunchSpec(
            mode=Mode.RESUME if resume else Mode.FRESH,
            session_id=str(uuid.uuid4()),
            cwd=self.directory(name),
            home=self.home,
            python=sys.executable,
            session_ref=resume,
        )
        environ = known.environment(self.environ, spec) | {"PEERWAKE_HOME": str(self.root.home)} | dict(env or {})
        command = known.command(spec)
        program = shutil.which(command[0], path=environ["PATH"])
        assert program, f"{command[0]} is not in {environ['PATH']}"
        socket = self.base / f"{len(self.clients)}.sock"
        started = await start(
            ServerSpec(
                socket=socket,
                session=f"{runtime}-{name}",
                argv=(*self.prefix, program, *command[1:], *argv),
                env=environ,
                cwd=spec.cwd,
                width=size[0],
                height=size[1],
            )
        )
        clock = SystemClock()
        control = ControlClient(
            tmux=find_tmux(), socket=socket, session=f"{runtime}-{name}", server=started.tmux, clock=clock
        )
        facts = SessionFacts(
            spec.session_id, spec.cwd, clock.wall(), environ, pane_pid=started.pane.pid, session_ref=resume
        )
        pane = Pane(control, started.pane_id, clock)
        client = Client(known, READERS[runtime], pane, facts, started, socket, clock)
        self.clients.append(client)
        return client

    async def start(
        self,
        runtime: str,
        name: str,
        *,
        resume: str | None = None,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        size: tuple[int, int] = (200, 50),
    ) -> Client:
        """Start a client in a trusted directory and bring it to its ready input line; fails with its screen."""
        if not self.clients:
            self.trust(runtime, self.directory(name))
        for attempt in range(STARTS):
            client = await self.launch(runtime, name, resume=resume, argv=argv, env=env, size=size)
            boot = await client.boot()
            if boot.end is BootEnd.READY:
                await client.until(ScreenState.READY)
                return client
            if OVERLOADED not in boot.excerpt or attempt + 1 == STARTS:
                raise AssertionError(f"{runtime} is {boot.end}:\n{boot.excerpt}")
        raise AssertionError(f"{runtime} was not started")

    async def peerwake(self, *words: str, seconds: float = 60.0, cwd: Path | None = None) -> Finished:
        """Run one `peerwake` command as the operator of this world, from the sources."""
        argv = (*self.prefix, self.python, "-m", "mcp_server", *words)
        return await anyio.to_thread.run_sync(
            lambda: run(argv, deadline=seconds, env=self.environ, cwd=cwd or self.base)
        )

    @asynccontextmanager
    async def server(self, *words: str) -> AsyncIterator[str]:
        """Run `peerwake serve` and yield its HTTP address once it answers; its output is in `serve.log`."""
        argv = (*self.prefix, self.python, "-m", "mcp_server", "serve", *words)
        self.root.discovery.unlink(missing_ok=True)
        with (self.base / "serve.log").open("ab") as log:
            process = await anyio.open_process(argv, stdout=log, stderr=log, env=self.environ, cwd=self.base)

        async def address() -> str | None:
            assert process.returncode is None, (self.base / "serve.log").read_text()
            return json.loads(self.root.discovery.read_text())["http"] if self.root.discovery.exists() else None

        try:
            found = await eventually(address, 20)
            assert found, "the server does not answer"
            yield found
        finally:
            with anyio.CancelScope(shield=True):
                process.terminate()
                await process.wait()

    async def _end_everything(self) -> None:
        for _ in range(3):
            left = list(self._processes())
            for process in left:
                terminate(process, signal.SIGKILL)
            with anyio.move_on_after(2):
                for process in left:
                    await wait_dead(process)

    def _processes(self) -> Iterator[ProcessId]:
        """Yield the living processes that carry this world in their environment (Linux)."""
        marks = [f"{name}={path}\0".encode() for name, path in (("HOME", self.home), ("PEERWAKE_HOME", self.root.home))]
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:
                continue
            process = identify(int(entry.name)) if any(mark in environ for mark in marks) else None
            if process is not None and process.pid != os.getpid():
                yield process
