"""What the server knows right now of each identity and message, and who waits to hear of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import anyio

from transport.identity import Identity
from transport.vocabulary import Hold, MessageState


@dataclass(frozen=True, slots=True)
class Status:
    """Why an identity's head waits (None: nothing waits, or it is being handed over)."""

    hold: Hold | None = None
    detail: str | None = None
    is_handing_over: bool = False
    is_booting: bool = False


IDLE = Status()


class Watch:
    """One caller waiting for one message while its block runs; `changed` is renewed on every piece of news."""

    def __init__(self, watches: dict[Identity, list["Watch"]], message_id: str, identity: Identity) -> None:
        self._watches = watches
        self.message_id = message_id
        self.identity = identity
        self.outcome: MessageState | None = None
        self.reason: str | None = None
        self.woke = False
        self._changed: anyio.Event | None = None

    def __enter__(self) -> Self:
        self._watches.setdefault(self.identity, []).append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        watches = self._watches[self.identity]
        watches.remove(self)
        if not watches:
            del self._watches[self.identity]

    @property
    def changed(self) -> anyio.Event:
        if self._changed is None:
            self._changed = anyio.Event()
        return self._changed

    def notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


class Board:
    """Statuses and watches; used on the event loop only."""

    def __init__(self) -> None:
        self._status: dict[Identity, Status] = {}
        self._watches: dict[Identity, list[Watch]] = {}
        self._on_send: dict[Identity, Callable[[], None]] = {}
        self._sends: dict[Identity, int] = {}
        self._wedged: dict[Identity, str] = {}
        self.is_released = False

    def status(self, identity: Identity) -> Status:
        return self._status.get(identity, IDLE)

    def update(self, identity: Identity, **changes: Hold | str | bool | None) -> None:
        """Change a status and tell those who wait for this identity's messages."""
        before = self.status(identity)
        after = replace(before, **changes)  # type: ignore[arg-type]
        if after == before:
            return
        if after == IDLE:
            self._status.pop(identity, None)
        else:
            self._status[identity] = after
        self._notify(identity)

    def clear(self, identity: Identity) -> None:
        """Forget what held an identity up."""
        self.update(identity, hold=None, detail=None, is_handing_over=False, is_booting=False)

    def woke(self, identity: Identity) -> None:
        """Record for all who wait that their recipient's session was started for them."""
        for watch in self._watches.get(identity, ()):
            watch.woke = True

    def settle(self, identity: Identity, message_id: str, outcome: MessageState, reason: str | None) -> None:
        """Tell who waits for one message how it ended."""
        for watch in self._watches.get(identity, ()):
            if watch.message_id == message_id:
                watch.outcome = outcome
                watch.reason = reason
        self._notify(identity)

    def sent(self, sender: Identity) -> None:
        """Tell who listens that this identity sent a message."""
        self._sends[sender] = self.sends(sender) + 1
        if self._on_send and (listener := self._on_send.get(sender)):
            listener()

    def sends(self, sender: Identity) -> int:
        """Return how many messages this identity has sent since the server started."""
        return self._sends.get(sender, 0)

    def wedged(self, identity: Identity) -> str | None:
        """Return why nobody can tell what this identity's session does, None when that can be told."""
        return self._wedged.get(identity)

    def set_wedged(self, identity: Identity, detail: str | None) -> None:
        """Say that nobody can tell what a session does, or with None that it can be told again."""
        if detail is None:
            self._wedged.pop(identity, None)
        else:
            self._wedged[identity] = detail

    def release(self) -> None:
        """Let nobody wait any longer: the server ends, and who waits is told what is known now."""
        self.is_released = True
        for identity in tuple(self._watches):
            self._notify(identity)

    def flags_changed(self, identity: Identity) -> None:
        """Have those who wait for an identity's messages look at its flags again."""
        self._notify(identity)

    @contextmanager
    def on_send(self, sender: Identity, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` after each message this identity sends."""
        self._on_send[sender] = listener
        try:
            yield
        finally:
            del self._on_send[sender]

    def watch(self, message_id: str, identity: Identity) -> Watch:
        """Watch one message; enter it before the message can be settled."""
        return Watch(self._watches, message_id, identity)

    def _notify(self, identity: Identity) -> None:
        for watch in self._watches.get(identity, ()):
            watch.notify()
