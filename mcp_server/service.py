"""What the transports need of the application: the one interface between tools, verbs and lifecycle."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from lifecycle.requests import MessageReport, PeerPage, PeerRow, QueueRow, SendRequest, SendResult
from transport.identity import Identity

Progress = Callable[[str], Awaitable[None]]


class Service(Protocol):
    """The running application. Every method raises PeerwakeError subclasses and nothing else."""

    @property
    def host(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def root(self) -> Path: ...

    @property
    def role(self) -> str:
        """`supervisor` or `standby`."""
        ...

    async def send(self, sender: Identity, request: SendRequest, progress: Progress | None = None) -> SendResult: ...

    async def peers(self, query: str | None, live_only: bool, offset: int, limit: int) -> PeerPage: ...

    async def peer(self, name: str) -> PeerRow: ...

    async def queue(self, personality: str | None) -> tuple[QueueRow, ...]: ...

    async def message(self, message_id: str) -> MessageReport: ...

    async def dead_letters(self, personality: str | None) -> tuple[MessageReport, ...]: ...

    async def show(self, message_id: str) -> dict[str, Any]:
        """One message with its body."""
        ...

    async def retry(self, message_id: str) -> MessageReport: ...

    async def drop(self, message_id: str) -> MessageReport: ...

    async def stop(self, name: str | None) -> tuple[str, ...]: ...

    async def start(self, name: str | None) -> tuple[str, ...]: ...

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Wake with resume; returns `socket`, `session`, `identity`."""
        ...

    async def self_done(self, identity: Identity) -> None: ...

    async def self_new(self, identity: Identity) -> None: ...

    async def reload(self) -> dict[str, Any]:
        """Read the registry and the runtimes again; returns what was found."""
        ...

    def resolve_pane(self, pid: int) -> Identity | None:
        """The session that process `pid` belongs to by ancestry or cgroup; may block, safe in a thread."""
        ...

    def peer_at(self, directory: Path) -> Identity | None:
        """The default presence of the peer whose working directory is or contains `directory`."""
        ...

    def knows(self, identity: Identity) -> bool:
        """Whether a peer of this name is registered with this runtime; from memory."""
        ...
