"""What the transports need of the application: the one interface between tools, verbs and lifecycle."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

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
from transport.bulkhead import Bulkhead
from transport.identity import Identity
from transport.spool.records import Handled

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

    @property
    def log_failures(self) -> int:
        """How many lines of logs could not be written since the start."""
        ...

    @property
    def bulkhead(self) -> Bulkhead:
        """Where paths that callers choose are looked at."""
        ...

    async def send(self, sender: Identity, request: SendRequest, progress: Progress | None = None) -> SendResult: ...

    async def peers(self, query: str | None, live_only: bool, offset: int, limit: int) -> PeerPage: ...

    async def peer(self, name: str) -> PeerRow: ...

    async def queue(self, personality: str | None) -> tuple[QueueRow, ...]: ...

    async def message(self, message_id: str) -> MessageReport: ...

    async def dead_letters(self, selection: Selection, limit: int) -> Letters: ...

    async def show(self, message_id: str) -> dict[str, Any]:
        """One message with its body."""
        ...

    async def retry(self, selection: Selection) -> Handled:
        """Queue dead letters again, in the order of their acceptance; what is not dead is refused."""
        ...

    async def drop(self, selection: Selection) -> Handled:
        """Give dead letters, or messages that wait, up for good; what is in flight or settled is refused."""
        ...

    async def stop(self, name: str | None) -> tuple[str, ...]: ...

    async def start(self, name: str | None) -> tuple[str, ...]: ...

    async def attach(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Wake with resume; returns `identity`, `socket`, `session`, `state`, `mode`, `first`."""
        ...

    async def watch(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Where a live session can be looked at; wakes nothing."""
        ...

    async def run(self, name: str, runtime: str | None, is_replacing: bool) -> dict[str, Any]:
        """Begin a fresh session, in place of a live one only if that is asked for."""
        ...

    async def new(self, name: str, runtime: str | None, seed: str | None) -> dict[str, Any]:
        """Replace whatever session there is by a fresh one; returns when that is ready."""
        ...

    async def refresh(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Have a peer begin fresh at its next wake."""
        ...

    async def interrupt(self, name: str, runtime: str | None) -> dict[str, Any]:
        """End the turn a client is busy with; returns what its screen shows then."""
        ...

    async def compact(self, name: str, runtime: str | None) -> dict[str, Any]:
        """Have an idle client summarise its conversation; returns what its screen shows then."""
        ...

    async def remove(self, name: str, *, force: bool, purge: bool) -> dict[str, Any]:
        """Remove a peer; returns `name`, `cwd`, `purged`, `dead_letters`, `withdrawn`, `notes`."""
        ...

    async def rename(self, name: str, new_name: str) -> dict[str, Any]:
        """Give a peer another name; returns `name`, `former`, `cwd`, `messages`, `notes`."""
        ...

    async def self_done(self, identity: Identity) -> str:
        """The caller is done; returns what ends: its `task`, or its `session`."""
        ...

    async def self_new(self, identity: Identity, seed: str | None) -> None:
        """The caller's own session is to be replaced by a fresh one when its turn is over."""
        ...

    def arrived(self, identity: Identity) -> None:
        """A process of this identity's session has asked for the tools."""
        ...

    async def reload(self) -> dict[str, Any]:
        """Read the registry and the runtimes again; returns what was found."""
        ...

    def resolve_pane(self, pid: int) -> Identity | None:
        """The session that process `pid` belongs to by ancestry; may block, safe in a thread."""
        ...

    def is_branded(self, pid: int) -> bool:
        """Whether process `pid` was started in a session, also in one that has ended."""
        ...

    def peer_at(self, directory: Path) -> Identity | None:
        """The default presence of the peer whose working directory is or contains `directory`."""
        ...

    def knows(self, identity: Identity) -> bool:
        """Whether a peer of this name is registered with this runtime; from memory."""
        ...
