"""The running application: the lifecycle as the transports see it (`mcp_server.service.Service`)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lifecycle.attribution import Attribution
from lifecycle.changes import Changes
from lifecycle.dispatch import Dispatcher, Progress
from lifecycle.fleet import Fleet
from lifecycle.keys import Keys
from lifecycle.queues import Queues
from lifecycle.requests import (
    Letters,
    MessageReport,
    PeerPage,
    PeerRow,
    QueueRow,
    Selection,
    SendRequest,
    SendResult,
)
from lifecycle.supervise import Supervisor
from lifecycle.task_end import TaskEnd
from lifecycle.verbs import Verbs
from lifecycle.visits import Visits
from transport.bulkhead import Bulkhead
from transport.identity import Identity
from transport.registry import Registry
from transport.spool.records import Handled


@dataclass(frozen=True, slots=True)
class Application:
    """Implements Service by handing each question to the part that knows."""

    host: str
    tenant: str
    version: str
    root: Path
    registry: Registry
    dispatcher: Dispatcher
    fleet: Fleet
    queues: Queues
    verbs: Verbs
    changes: Changes
    visits: Visits
    keys: Keys
    supervisor: Supervisor
    attribution: Attribution
    bulkhead: Bulkhead

    @property
    def role(self) -> str:
        return "supervisor" if self.supervisor.is_running else "standby"

    @property
    def log_failures(self) -> int:
        return self.supervisor.logs.failures

    async def send(self, sender: Identity, request: SendRequest, progress: Progress | None = None) -> SendResult:
        return await self.dispatcher.send(sender, request, progress)

    async def peers(self, query: str | None, live_only: bool, offset: int, limit: int) -> PeerPage:
        return await self.fleet.peers(query, live_only, offset, limit)

    async def peer(self, name: str) -> PeerRow:
        return await self.fleet.peer(name)

    async def queue(self, personality: str | None) -> tuple[QueueRow, ...]:
        return await self.queues.rows(personality)

    async def message(self, message_id: str) -> MessageReport:
        return await self.queues.message(message_id)

    async def dead_letters(self, selection: Selection, limit: int) -> Letters:
        return await self.queues.letters(selection, limit)

    async def show(self, message_id: str) -> dict[str, Any]:
        return await self.queues.show(message_id)

    async def retry(self, selection: Selection) -> Handled:
        return await self.queues.retry(selection)

    async def drop(self, selection: Selection) -> Handled:
        return await self.queues.drop(selection)

    async def stop(self, name: str | None) -> tuple[str, ...]:
        return await self.verbs.stop(name)

    async def start(self, name: str | None) -> tuple[str, ...]:
        return await self.verbs.start(name)

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.visits.attach(name, runtime)

    async def watch(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.visits.watch(name, runtime)

    async def run(self, name: str, runtime: str | None, is_replacing: bool) -> dict[str, Any]:
        return await self.visits.run(name, runtime, is_replacing=is_replacing)

    async def new(self, name: str, runtime: str | None, seed: str | None) -> dict[str, Any]:
        return await self.verbs.new(name, runtime, seed)

    async def refresh(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.verbs.refresh(name, runtime)

    async def interrupt(self, name: str, runtime: str | None) -> dict[str, Any]:
        session = await self.visits.present(name, runtime)
        return {"identity": str(session.identity)} | asdict(await self.keys.interrupt(session))

    async def compact(self, name: str, runtime: str | None) -> dict[str, Any]:
        session = await self.visits.present(name, runtime)
        return {"identity": str(session.identity)} | asdict(await self.keys.compact(session))

    async def remove(self, name: str, *, force: bool, purge: bool) -> dict[str, Any]:
        return (await self.changes.remove(name, force=force, purge=purge)).row()

    async def rename(self, name: str, new_name: str) -> dict[str, Any]:
        return (await self.changes.rename(name, new_name)).row()

    async def self_done(self, identity: Identity) -> str:
        if await TaskEnd(self.supervisor.deck, identity).say_done():
            self.supervisor.kick(identity)
            return "task"
        await self.verbs.self_done(identity)
        return "session"

    async def self_new(self, identity: Identity, seed: str | None) -> None:
        await self.verbs.self_new(identity, seed)

    def arrived(self, identity: Identity) -> None:
        self.supervisor.deck.waker.arrivals.arrived(identity)

    async def reload(self) -> dict[str, Any]:
        return {"peers": len(self.registry.names())}

    def resolve_pane(self, pid: int) -> Identity | None:
        return self.attribution.of_process(pid)

    def is_branded(self, pid: int) -> bool:
        return self.attribution.is_branded(pid)

    def peer_at(self, directory: Path) -> Identity | None:
        return self.attribution.of_directory(directory)

    def knows(self, identity: Identity) -> bool:
        return self.dispatcher.resolver.is_declared(identity)
