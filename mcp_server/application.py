"""The running application: the lifecycle as the transports see it (`mcp_server.service.Service`)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lifecycle.attribution import Attribution
from lifecycle.dispatch import Dispatcher, Progress
from lifecycle.ephemeral import EphemeralDrain
from lifecycle.fleet import Fleet
from lifecycle.requests import MessageReport, NotAllowed, PeerPage, PeerRow, QueueRow, SendRequest, SendResult
from lifecycle.supervise import Supervisor
from lifecycle.verbs import Verbs
from transport.identity import Identity
from transport.registry import Registry


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
    verbs: Verbs
    supervisor: Supervisor
    attribution: Attribution

    @property
    def role(self) -> str:
        return "supervisor" if self.supervisor.is_running else "standby"

    async def send(self, sender: Identity, request: SendRequest, progress: Progress | None = None) -> SendResult:
        return await self.dispatcher.send(sender, request, progress)

    async def peers(self, query: str | None, live_only: bool, offset: int, limit: int) -> PeerPage:
        return await self.fleet.peers(query, live_only, offset, limit)

    async def peer(self, name: str) -> PeerRow:
        return await self.fleet.peer(name)

    async def queue(self, personality: str | None) -> tuple[QueueRow, ...]:
        return await self.fleet.queue(personality)

    async def message(self, message_id: str) -> MessageReport:
        return await self.fleet.message(message_id)

    async def dead_letters(self, personality: str | None) -> tuple[MessageReport, ...]:
        return await self.fleet.dead_letters(personality)

    async def show(self, message_id: str) -> dict[str, Any]:
        record = await self.fleet.record(message_id)
        message = record.message
        return asdict(self.fleet.report(record)) | {
            "body": message.body,
            "topic": message.topic,
            "attachments": list(message.attachments),
            "reply_to": message.reply_to,
            "kind": message.kind,
            "hops": message.hops,
        }

    async def retry(self, message_id: str) -> MessageReport:
        record = await self.fleet.record(message_id)
        await self.fleet.spool.retry(message_id, self.fleet.clock.wall())
        self.supervisor.kick(record.message.recipient)
        return await self.fleet.message(message_id)

    async def drop(self, message_id: str) -> MessageReport:
        record = await self.fleet.record(message_id)
        await self.fleet.spool.drop(message_id, self.fleet.clock.wall())
        return self.fleet.report(record)

    async def stop(self, name: str | None) -> tuple[str, ...]:
        return await self.verbs.stop(name)

    async def start(self, name: str | None) -> tuple[str, ...]:
        return await self.verbs.start(name)

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        return await self.verbs.attach(name, runtime)

    async def self_done(self, identity: Identity) -> None:
        drain = self.supervisor.drains.get(identity)
        if not isinstance(drain, EphemeralDrain) or not await drain.done():
            raise NotAllowed(f"{identity} has no task in work; only an ephemeral worker says that it is done")

    async def self_new(self, identity: Identity) -> None:
        raise NotAllowed("'self new' is not supported by this server; upgrade peerwake")

    async def reload(self) -> dict[str, Any]:
        return {"peers": len(self.registry.names())}

    def resolve_pane(self, pid: int) -> Identity | None:
        return self.attribution.of_process(pid)

    def peer_at(self, directory: Path) -> Identity | None:
        return self.attribution.of_directory(directory)

    def knows(self, identity: Identity) -> bool:
        profile = self.registry.get(identity.personality)
        return profile is not None and identity.runtime in profile.runtimes
