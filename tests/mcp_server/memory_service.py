"""An application in memory with real semantics: queues, order, idempotency, refusals, waiting for receipts."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from lifecycle.requests import (
    Letters,
    MessageReport,
    NoSuchMessage,
    PeerPage,
    PeerRow,
    PeerStopped,
    QueueRow,
    RuntimeRow,
    Selection,
    SelfSend,
    SendRequest,
    SendResult,
    UndeclaredRuntime,
    UnknownPeer,
)
from lifecycle.states import PeerState, SendStatus
from mcp_server.service import Progress
from transport.bulkhead import Bulkhead
from transport.clock import SystemClock, iso
from transport.identity import Identity
from transport.logs import Log
from transport.message import Message, accept
from transport.spool import records as spool
from transport.spool.faults import SpoolError
from transport.spool.records import Handled
from transport.vocabulary import Hold, MessageState

HOST = "here"
TENANT = "me"


@dataclass
class Letter:
    """An accepted message and what became of it."""

    message: Message
    state: MessageState = MessageState.QUEUED
    settled: anyio.Event = field(default_factory=anyio.Event)
    reason: str | None = None

    def settle(self, state: MessageState, reason: str | None = None) -> None:
        self.state = state
        self.reason = reason
        self.settled.set()


class MemoryService:
    """Accepts messages for the peers it is given; `consume` stands for a session taking its next message."""

    def __init__(self, root: Path, now: float = 1_800_000_000.0) -> None:
        self.root = root
        self.host = HOST
        self.tenant = TENANT
        self.version = "0.0.test"
        self.role = "supervisor"
        self.log_failures = 0
        self.bulkhead = Bulkhead(Log(root / "logs" / "lifecycle.log", SystemClock()))
        self.rows: dict[str, PeerRow] = {}
        self.letters: dict[str, Letter] = {}
        self.keys: dict[tuple[Identity, str], str] = {}
        self.stopped: set[str] = set()
        self.waking: set[str] = set()
        self.arrivals: list[Identity] = []
        self.panes: dict[int, Identity] = {}
        self.branded: set[int] = set()
        self.own_sessions: list[tuple[str, Identity]] = []
        self.accept_gate: anyio.Event | None = None
        self._now = now

    def add(self, name: str, *runtimes: str, description: str = "", cwd: str | None = None) -> PeerRow:
        """Register a peer."""
        row = PeerRow(
            name=name,
            host=HOST,
            tenant_id=TENANT,
            intelligence="artificial",
            wake_policy="warm",
            default_runtime=(runtimes or ("scripted",))[0],
            description=description or f"{name} does things",
            cwd=cwd or str(self.root / "peers" / name),
            runtimes=tuple(RuntimeRow(one, PeerState.ASLEEP, 0) for one in runtimes or ("scripted",)),
        )
        self.rows[name] = row
        return row

    def accepted(self, personality: str) -> list[Message]:
        """Messages for a peer in the order of their acceptance."""
        return [one.message for one in self.letters.values() if one.message.recipient.personality == personality]

    def consume(self, message_id: str) -> None:
        self.letters[message_id].settle(MessageState.CONSUMED)

    async def send(self, sender: Identity, request: SendRequest, progress: Progress | None = None) -> SendResult:
        row = self._row(request.personality)
        runtime = request.runtime or row.default_runtime
        if runtime not in {one.runtime for one in row.runtimes}:
            raise UndeclaredRuntime(f"{row.name} does not declare the runtime {runtime!r}")
        if sender.personality == row.name:
            raise SelfSend(f"you are {row.name}; choose another peer")
        if row.name in self.stopped:
            raise PeerStopped(f"{row.name} is stopped; nothing was queued")
        recipient = Identity(runtime, row.name)
        letter, is_duplicate = self._accept(sender, recipient, request)
        if self.accept_gate is not None:
            await self.accept_gate.wait()
        await anyio.lowlevel.checkpoint()
        wait = request.wait_seconds
        if wait is None and row.name in self.waking:
            wait = 20.0
        if wait and not letter.settled.is_set():
            if progress is not None:
                await progress(f"{row.name}: waking")
            with anyio.move_on_after(wait):
                await letter.settled.wait()
        delivered = letter.state is MessageState.CONSUMED
        return SendResult(
            message_id=letter.message.id,
            status=SendStatus.DELIVERED if delivered else SendStatus.QUEUED,
            personality=row.name,
            runtime=runtime,
            host=HOST,
            woke=row.name in self.waking,
            queue_depth=self._depth(recipient),
            reason=None if delivered else Hold.WAKING if row.name in self.waking else Hold.BUSY,
            at=iso(self._now),
            removed_controls=letter.message.removed_controls,
            duplicate=is_duplicate,
        )

    def _accept(self, sender: Identity, recipient: Identity, request: SendRequest) -> tuple[Letter, bool]:
        key = request.draft.idempotency_key
        if key is not None and (sender, key) in self.keys:
            return self.letters[self.keys[sender, key]], True
        self._now += 0.001
        message = accept(request.draft, sender, recipient, hops=0, now=self._now)
        letter = Letter(message)
        self.letters[message.id] = letter
        if key is not None:
            self.keys[sender, key] = message.id
        return letter, False

    def _row(self, name: str) -> PeerRow:
        if name not in self.rows:
            near = difflib.get_close_matches(name, self.rows, 3)
            hint = f"did you mean {', '.join(near)}?" if near else "list_peers shows who there is"
            raise UnknownPeer(f"there is no peer {name!r}; {hint}")
        return self._current(self.rows[name])

    def _current(self, row: PeerRow) -> PeerRow:
        state = PeerState.STOPPED if row.name in self.stopped else PeerState.ASLEEP
        runtimes = tuple(
            replace(one, state=state, queue_depth=self._depth(Identity(one.runtime, row.name))) for one in row.runtimes
        )
        return replace(row, runtimes=runtimes)

    def _depth(self, identity: Identity) -> int:
        return sum(
            1 for one in self.letters.values() if one.message.recipient == identity and one.state is MessageState.QUEUED
        )

    async def peers(self, query: str | None, live_only: bool, offset: int, limit: int) -> PeerPage:
        text = (query or "").casefold()
        found = [row for name, row in sorted(self.rows.items()) if text in f"{name} {row.description}".casefold()]
        if live_only:
            found = [row for row in found if any(one.state is PeerState.LIVE for one in row.runtimes)]
        page = tuple(self._current(row) for row in found[offset : offset + limit])
        return PeerPage(page, len(found), offset)

    async def peer(self, name: str) -> PeerRow:
        return self._row(name)

    async def queue(self, personality: str | None) -> tuple[QueueRow, ...]:
        rows = [self._row(personality)] if personality else list(self.rows.values())
        return tuple(
            QueueRow(
                identity=str(identity),
                host=HOST,
                tenant_id=TENANT,
                depth=self._depth(identity),
                in_flight=None,
                head_age_seconds=None,
                last_receipt_at=None,
                dead=sum(
                    1
                    for one in self.letters.values()
                    if one.message.recipient == identity and one.state is MessageState.DEAD
                ),
                hold=None,
            )
            for row in rows
            for identity in (Identity(one.runtime, row.name) for one in row.runtimes)
        )

    def _letter(self, message_id: str) -> Letter:
        if message_id not in self.letters:
            raise NoSuchMessage(f"there is no message {message_id!r:.60}")
        return self.letters[message_id]

    def _report(self, letter: Letter) -> MessageReport:
        return MessageReport(
            message_id=letter.message.id,
            sender=str(letter.message.sender),
            recipient=str(letter.message.recipient),
            state=letter.state,
            stage=None,
            attempts=0,
            accepted_at=iso(letter.message.accepted_at),
            settled_at=None,
            reason=letter.reason,
            host=HOST,
            tenant_id=TENANT,
            events=((iso(letter.message.accepted_at), "accepted", ""),),
        )

    async def message(self, message_id: str) -> MessageReport:
        return self._report(self._letter(message_id))

    async def dead_letters(self, selection: Selection, limit: int) -> Letters:
        found = [self._report(one) for one in self._dead(selection)]
        return Letters(tuple(found[:limit]), len(found))

    def _dead(self, selection: Selection) -> list[Letter]:
        dead = [one for one in self.letters.values() if one.state is MessageState.DEAD]
        return [one for one in dead if selection.personality in (None, one.message.recipient.personality)]

    async def show(self, message_id: str) -> dict[str, Any]:
        letter = self._letter(message_id)
        return asdict(self._report(letter)) | {"body": letter.message.body}

    async def retry(self, selection: Selection) -> Handled:
        return self._handle(selection, {MessageState.DEAD}, MessageState.QUEUED)

    async def drop(self, selection: Selection) -> Handled:
        return self._handle(selection, {MessageState.DEAD, MessageState.QUEUED}, MessageState.DEAD)

    def _handle(self, selection: Selection, standing: set[MessageState], result: MessageState) -> Handled:
        ids = selection.message_ids or tuple(one.message.id for one in self._dead(selection))
        done: list[spool.Letter] = []
        refused: list[tuple[str, SpoolError]] = []
        for message_id in ids:
            letter = self.letters.get(message_id)
            if letter is None:
                refused.append((message_id, spool.MessageUnknown(f"no message has the id {message_id}")))
            elif letter.state not in standing:
                refused.append((message_id, spool.MessageSettled(f"{message_id} is {letter.state}")))
            else:
                letter.settle(result)
                done.append(spool.Letter(message_id, letter.message.sender, letter.message.recipient, letter.reason))
        return Handled(tuple(done), tuple(refused))

    def arrived(self, identity: Identity) -> None:
        self.arrivals.append(identity)

    async def stop(self, name: str | None) -> tuple[str, ...]:
        names = [self._row(name).name] if name else list(self.rows)
        self.stopped |= set(names)
        return tuple(f"{self.rows[one].default_runtime}-{one}" for one in names)

    async def start(self, name: str | None) -> tuple[str, ...]:
        names = [self._row(name).name] if name else list(self.rows)
        self.stopped -= set(names)
        return tuple(f"{self.rows[one].default_runtime}-{one}" for one in names)

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        row = self._row(name)
        identity = f"{runtime or row.default_runtime}-{name}"
        return {"identity": identity, "socket": f"/run/{identity}.sock", "session": identity}

    async def watch(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.attach(name, runtime)

    async def run(self, name: str, runtime: str | None, is_replacing: bool) -> dict[str, Any]:
        return await self.attach(name, runtime) | {"replaced": is_replacing}

    async def new(self, name: str, runtime: str | None, seed: str | None) -> dict[str, Any]:
        return {"identity": f"{runtime or self._row(name).default_runtime}-{name}", "seed": seed}

    async def refresh(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.new(name, runtime, None)

    async def interrupt(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.new(name, runtime, None)

    async def compact(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.new(name, runtime, None)

    async def remove(self, name: str, *, force: bool, purge: bool) -> dict[str, Any]:
        row = self.rows.pop(self._row(name).name)
        return {"name": name, "cwd": row.cwd, "purged": purge, "dead_letters": [], "withdrawn": [], "notes": []}

    async def rename(self, name: str, new_name: str) -> dict[str, Any]:
        row = self.rows.pop(self._row(name).name)
        self.rows[new_name] = replace(row, name=new_name)
        return {"name": new_name, "former": name, "cwd": row.cwd, "messages": 0, "notes": []}

    async def self_done(self, identity: Identity) -> str:
        self.own_sessions.append(("done", identity))
        return "session"

    async def self_new(self, identity: Identity, seed: str | None) -> None:
        self.own_sessions.append((f"new {seed}" if seed else "new", identity))

    async def reload(self) -> dict[str, Any]:
        return {"peers": len(self.rows)}

    def resolve_pane(self, pid: int) -> Identity | None:
        return self.panes.get(pid)

    def is_branded(self, pid: int) -> bool:
        return pid in self.branded

    def peer_at(self, directory: Path) -> Identity | None:
        for row in self.rows.values():
            if directory == Path(row.cwd) or Path(row.cwd) in directory.parents:
                return Identity(row.default_runtime, row.name)
        return None

    def knows(self, identity: Identity) -> bool:
        row = self.rows.get(identity.personality)
        return row is not None and identity.runtime in {one.runtime for one in row.runtimes}

    @contextmanager
    def this_process_is(self, identity: Identity) -> Iterator[None]:
        """Let connections of this process count as those of a session."""
        self.panes[os.getpid()] = identity
        try:
            yield
        finally:
            del self.panes[os.getpid()]
