"""A stage for drains: real spool, board, flags, records and settling; a terminal that plays a part."""

import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lifecycle.board import Board
from lifecycle.crashes import Crashes
from lifecycle.deaths import Deaths
from lifecycle.deck import Deck
from lifecycle.flags import Flags
from lifecycle.limits import Limits
from lifecycle.obituaries import Obituaries
from lifecycle.resolve import Resolver
from lifecycle.runtimes.table import load_table
from lifecycle.session import Session, Sessions
from lifecycle.settle import Settler
from lifecycle.states import End, Mode
from tests.clock import FakeClock
from transport.bulkhead import Bulkhead
from transport.delivery import HandOver
from transport.envelope import PLAIN, Form
from transport.hold import hold_of_state
from transport.identity import Identity
from transport.logs import Logs
from transport.message import Draft, Message, accept
from transport.paths import Root
from transport.process import ProcessId, identify
from transport.profile import make_profile
from transport.registry import Registry
from transport.spool.records import Record
from transport.spool.spool import Spool
from transport.vocabulary import Hold, MessageState, Receipt, ScreenState, Stage, WakePolicy

ALICE = Identity("scripted", "alice")
BOB = Identity("scripted", "bob")
TAKEN = HandOver(Receipt.CONSUMED, None, True, "played", "")
INJECTED = HandOver(Receipt.INJECTED, None, True, "played", "")
UNTAKEN = HandOver(None, None, True, "typed, no receipt", "")
UNREAD = HandOver(None, Hold.UNKNOWN, True, "submitted, perhaps not read yet", "")
HELD = HandOver(None, Hold.DRAFT, False, "nothing typed", "half a line")
OnStage = Callable[[Stage], Awaitable[None]]


@dataclass
class Actor:
    """The terminals: what each `deliver` does is played from `plays`, then the message is taken."""

    sessions: Sessions
    logs: Logs
    plays: list[HandOver | Exception] = field(default_factory=list)
    holds: list[Hold | Exception | None] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    repeated: list[bool] = field(default_factory=list)
    since: list[float | None] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    evidence: dict[str, Receipt] = field(default_factory=dict)
    state: ScreenState = ScreenState.READY
    lines: tuple[str, ...] = ("",)
    closed: list[Session] = field(default_factory=list)
    unreadable: bool = False
    inline: Form = PLAIN
    on_deliver: Callable[[str], Awaitable[None]] | None = None
    bulkhead: Bulkhead = field(init=False)

    def __post_init__(self) -> None:
        self.bulkhead = Bulkhead(self.logs.lifecycle)

    async def gate(self, session: Session) -> tuple[Hold | None, str | None]:
        play = self.holds.pop(0) if len(self.holds) > 1 else (self.holds[0] if self.holds else None)
        if isinstance(play, Exception):
            raise play
        return play, None

    async def deliver(
        self,
        session: Session,
        text: str,
        message_id: str,
        on_stage: OnStage,
        *,
        stage: Stage = Stage.HELD,
        is_repeated: bool = False,
        since: float | None = None,
    ) -> HandOver:
        self.stages.append(stage)
        self.repeated.append(is_repeated)
        self.since.append(since)
        play = self.plays.pop(0) if self.plays else TAKEN
        if isinstance(play, Exception) and getattr(play, "untouched", False):
            raise play
        if isinstance(play, HandOver) and not play.typed:
            return play
        await on_stage(Stage.PASTING)
        self.typed.append(message_id)
        self.texts.append(text)
        if self.on_deliver is not None:
            await self.on_deliver(message_id)
        if isinstance(play, Exception):
            raise play
        if play.receipt is not None:
            self.evidence[message_id] = play.receipt
        return play

    async def find(self, session: Session, message_id: str) -> Receipt | None:
        if self.unreadable:
            raise PermissionError(13, "Permission denied")
        return self.evidence.get(message_id)

    async def was_pasted(self, session: Session, message_id: str) -> bool:
        return message_id in self.typed

    def attempts(self, session: Session) -> int:
        return 3

    def form(self, session: Session) -> Form:
        return self.inline

    async def occupied(self, session: Session) -> Hold | None:
        return hold_of_state(self.state)

    async def look(self, session: Session) -> tuple[ScreenState, tuple[str, ...]]:
        return self.state, self.lines

    async def close(self, session: Session, end: End) -> None:
        self.closed.append(session)
        await self.ended(self.sessions.update(session, is_closing=True, end=end))

    async def ended(self, session: Session) -> bool:
        self.evidence.clear()
        return self.sessions.retire(session)

    async def forget(self, session: Session) -> None:
        """Nothing is open."""


@dataclass
class Starter:
    """The waker: starts sessions that are records with a process, or plays what stands in `plays`."""

    stage: "Scene"
    table: Any
    plays: list[Exception] = field(default_factory=list)
    woken: int = 0
    seen_out: list[Session] = field(default_factory=list)

    async def wake(
        self, identity: Identity, *, asked: Mode | None = None, topic: str | None = None, task: str | None = None
    ) -> tuple[Session, bool]:
        self.stage.deck.resolver.refuse_unwakeable(identity)
        if self.plays:
            raise self.plays.pop(0)
        live = self.stage.deck.sessions.live(identity)
        if live is not None:
            return live, False
        self.woken += 1
        return self.stage.session(identity, task=task), True

    async def see_out(self, session: Session) -> None:
        self.seen_out.append(session)
        self.stage.kill(session)
        await self.stage.deck.deaths.bury(session, "session-gone")


@dataclass
class Scene:
    """Everything a drain needs, and what a test asks of it."""

    root: Root
    clock: FakeClock
    spool: Spool
    registry: Registry
    actor: Actor
    limits: Limits
    kicked: list[Identity] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    deck: Deck = field(init=False)
    starter: Starter = field(init=False)

    def peer(self, name: str, policy: WakePolicy = WakePolicy.WARM, **fields: Any) -> Identity:
        cwd = self.root.peers / name
        known = {"runtimes": ("scripted",), "default_runtime": "scripted", "cwd": cwd, "wake_policy": policy}
        whose = {"host": "here", "tenant_id": "me", "created_at": "2026-11-20T00:00:00+00:00"}
        self.registry.add(make_profile(name=name, **(known | whose | fields)))
        return Identity("scripted", name)

    def session(self, identity: Identity = ALICE, **fields: Any) -> Session:
        """A ready session whose `tmux` is a process of ours."""
        process = subprocess.Popen(["sleep", "600"])
        self.processes.append(process)
        tmux = identify(process.pid)
        facts = {"host": "here", "tenant_id": "me", "cwd": str(self.root.peers / identity.personality)}
        fence = f"{len(self.processes):016x}"
        known = {"fence": fence, "woke_at": self.clock.wall(), "mode": Mode.FRESH, "session_id": fence}
        known |= {"tmux": tmux, "pane": tmux, "pane_id": "%0", "is_ready": True}
        return self.deck.sessions.save(Session(identity=identity, **(facts | known | fields)))

    def kill(self, session: Session) -> None:
        for process in self.processes:
            if session.tmux is not None and process.pid == session.tmux.pid:
                process.kill()
                process.wait()

    async def send(self, body: str = "hello", to: Identity = ALICE, sender: Identity = BOB, **changes: Any) -> Message:
        message = replace(accept(Draft(body), sender, to, hops=0, now=self.clock.wall()), **changes)
        return (await self.spool.enqueue(message, cap=10_000, hop_limit=20)).message

    async def record(self, message: Message) -> Record:
        record = await self.spool.message(message.id)
        assert record is not None
        return record

    async def is_in(self, message: Message, state: MessageState) -> bool:
        return (await self.record(message)).state is state

    def log(self, name: str) -> str:
        path = self.root.logs / f"{name}.log"
        return path.read_text() if path.exists() else ""


@asynccontextmanager
async def scene(root: Root, **limits: Any) -> AsyncIterator[Scene]:
    """Build a scene with peers alice and bob, and take everything down again."""
    clock = FakeClock()
    async with Spool(root.spool) as spool:
        logs, sessions, registry, flags = Logs(root.logs, clock), Sessions(root), Registry(root), Flags(root)
        known = Limits(**limits)
        actor = Actor(sessions, logs)
        stage = Scene(root, clock, spool, registry, actor, known)
        board, crashes = Board(), Crashes(root, clock, known.crash_count, known.crash_window_seconds)
        table = load_table(Path("/nonexistent"))
        stage.starter = Starter(stage, table)
        stage.deck = Deck(
            spool=spool,
            board=board,
            resolver=Resolver(registry, flags),
            sessions=sessions,
            terminals=actor,  # type: ignore[arg-type]
            waker=stage.starter,  # type: ignore[arg-type]
            settler=Settler(spool, board, logs, clock, known, stage.kicked.append),
            flags=flags,
            clock=clock,
            limits=known,
            deaths=Deaths(
                actor,  # type: ignore[arg-type]
                crashes,
                flags,
                known,
                logs,
                Obituaries(logs, clock, known),
                board,
                spool,
                stage.kicked.append,
            ),
        )
        stage.peer("alice")
        stage.peer("bob")
        try:
            yield stage
        finally:
            for process in stage.processes:
                process.kill()
                process.wait()


def process_id(process: subprocess.Popen[bytes]) -> ProcessId:
    found = identify(process.pid)
    assert found is not None
    return found
