"""A test client in a real tmux of its own, and what a test wants to know about it."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from tests.bulkheads import compartment
from transport.clock import SystemClock
from transport.delivery import HandOver, Pace, Target, deliver, hand_over, resume_hand_over
from transport.receipt import TranscriptTail
from transport.screen import Reading, ScreenRules, read_screen
from transport.tmux import commands
from transport.tmux.control import ControlClient
from transport.tmux.ending import kill
from transport.tmux.pane import Pane
from transport.tmux.program import find_tmux
from transport.tmux.server import ServerSpec, Started, start
from transport.vocabulary import Receipt, ScreenState, Stage

TUI = Path(__file__).with_name("tui.py")
CLIENT = (sys.executable, "-I", "-S", str(TUI))
CLOCK = SystemClock()
EVIDENCE = {"user": Receipt.CONSUMED, "queued": Receipt.INJECTED}
RULES = ScreenRules(
    composer="^❯\u00a0(?P<text>.*)$",
    composer_top="^─{10,}",
    composer_end="^─{10,}",
    cursor_in_composer=True,
    faint_is_ghost=True,
    footer=1,
    ready=("^  ready$",),
    busy=(r"^\* Working \(esc to interrupt\)$",),
    busy_above=2,
    asks=("^ Esc to cancel$", r"Do you want to proceed\?"),
    collapsed=r"\[Pasted text \+(?P<lines>\d+) lines\]",
)
QUICK = Pace(paste_seconds=1.0, settle_seconds=0.3, receipt_seconds=0.6, grace_seconds=0.3)


def envelope(body: str, message_id: str = "m_1") -> str:
    return f'<peer-message-7k3f id="{message_id}" from="alice">\n{body}\n</peer-message-7k3f>'


def parse(line: bytes) -> tuple[str, Receipt] | None:
    try:
        record = json.loads(line)
        evidence = EVIDENCE[record["type"]]
        opening = record["text"].split("\n")[0]
    except (ValueError, KeyError, TypeError):
        return None
    return (opening.split('id="')[1].split('"')[0], evidence) if 'id="' in opening else None


async def until(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 30.0) -> Any:
    """Poll until the condition holds and return what it says."""
    with anyio.fail_after(seconds):
        while True:
            value = condition()
            value = await value if isinstance(value, Awaitable) else value
            if value:
                return value
            await anyio.sleep(0.005)


@contextmanager
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pwt-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(slots=True)
class Terminal:
    """One running test client."""

    directory: Path
    spec: ServerSpec
    started: Started
    pane: Pane
    transcript: TranscriptTail
    stages: list[Stage] = field(default_factory=list)
    on_stage: Callable[[Stage], Awaitable[None]] | None = None
    takes_input_while_busy: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def target(self) -> Target:
        target = Target(self.pane, RULES, self.transcript, takes_input_while_busy=self.takes_input_while_busy)
        return replace(target, **self.changes)

    async def _stage(self, stage: Stage) -> None:
        self.stages.append(stage)
        if self.on_stage is not None:
            await self.on_stage(stage)

    async def hand_over(self, text: str, message_id: str = "m_1", pace: Pace = QUICK) -> HandOver:
        return await hand_over(self.target, text, message_id, on_stage=self._stage, clock=CLOCK, pace=pace)

    async def resume(
        self, text: str, message_id: str = "m_1", pace: Pace = QUICK, since: float | None = None
    ) -> HandOver:
        return await resume_hand_over(
            self.target, text, message_id, on_stage=self._stage, clock=CLOCK, pace=pace, since=since
        )

    async def deliver(
        self, text: str, stage: Stage, message_id: str = "m_1", pace: Pace = QUICK, **history: Any
    ) -> HandOver:
        return await deliver(
            self.target, text, message_id, stage=stage, on_stage=self._stage, clock=CLOCK, pace=pace, **history
        )

    def events(self) -> list[dict[str, str]]:
        """Every key and paste that reached the client, in order."""
        path = self.directory / "keys"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def keys(self) -> list[str]:
        return [event["key"] for event in self.events() if "key" in event]

    @property
    def pastes(self) -> list[str]:
        return [event["paste"] for event in self.events() if "paste" in event]

    def said(self, kind: str = "user") -> list[str]:
        """The texts of one kind in the transcript."""
        lines = self.transcript.path.read_text().splitlines() if self.transcript.path.exists() else []
        return [record["text"] for record in map(json.loads, lines) if record["type"] == kind]

    async def reading(self) -> Reading:
        return read_screen(await self.pane.capture(), RULES)

    async def is_in(self, *states: ScreenState) -> bool:
        return (await self.reading()).state in states

    def tmux(self, *words: str) -> str:
        """Run a tmux command as a person at a shell would."""
        argv = [find_tmux(), "-S", str(self.spec.socket), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout

    def control(self, lock: Path | None = None, pane: str | None = None) -> ControlClient:
        return ControlClient(
            tmux=find_tmux(),
            socket=self.spec.socket,
            session=self.spec.session,
            server=self.started.tmux,
            clock=CLOCK,
            lock=lock,
            pane=pane,
        )

    def another_pane(self, lock: Path | None = None) -> Pane:
        return Pane(self.control(lock), self.started.pane_id, CLOCK)


class Person:
    """Somebody attached with a real terminal."""

    def __init__(self, term: Terminal, *flags: str) -> None:
        self.outer, inner = pty.openpty()
        argv = [*commands.attach_terminal(find_tmux(), term.spec.socket, term.spec.session), *flags]
        env = {"TERM": "screen", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(argv, stdin=inner, stdout=inner, stderr=inner, env=env, start_new_session=True)
        os.close(inner)

    def type(self, text: str) -> None:
        os.write(self.outer, text.encode())

    def leave(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.outer)


@asynccontextmanager
async def terminal(
    *, width: int = 100, height: int = 30, ready: bool = True, argv: tuple[str, ...] = CLIENT, **env: str
) -> AsyncIterator[Terminal]:
    """Run the test client with `TUI_*` variables given without their prefix; wait until it shows something."""
    with directory() as path:
        variables = {f"TUI_{name}": value for name, value in env.items()}
        places = {"TUI_TRANSCRIPT": str(path / "transcript"), "TUI_KEYS": str(path / "keys")}
        spec = ServerSpec(
            socket=path / "tmux.sock",
            session="demo-alice",
            argv=argv,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **places, **variables},
            cwd=path,
            width=width,
            height=height,
        )
        started = await start(spec)
        control = ControlClient(
            tmux=find_tmux(), socket=spec.socket, session=spec.session, server=started.tmux, clock=CLOCK
        )
        pane = Pane(control, started.pane_id, CLOCK)
        tail = TranscriptTail(path / "transcript", parse, compartment(path))
        term = Terminal(path, spec, started, pane, tail)
        try:
            if ready:
                await until(lambda: term.is_in(*(set(ScreenState) - {ScreenState.UNKNOWN})))
            yield term
        finally:
            with anyio.CancelScope(shield=True):
                await pane.aclose()
                if started.tmux.is_alive():
                    os.kill(started.tmux.pid, signal.SIGCONT)
                await kill(spec.socket, started.tmux, pane=started.pane)
