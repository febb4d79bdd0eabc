"""Send: resolve, refuse or accept durably, and answer with the evidence there is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from lifecycle.board import Board, Watch
from lifecycle.limits import Limits
from lifecycle.requests import DeadLetter, Refused, SendRequest, SendResult
from lifecycle.resolve import RateLimit, Resolver
from lifecycle.states import SendStatus
from transport.clock import Clock, iso
from transport.errors import InvalidInput
from transport.identity import Identity
from transport.message import Draft, Message, accept
from transport.profile import Profile, host
from transport.spool.faults import SpoolError
from transport.spool.records import Accepted
from transport.spool.spool import Spool
from transport.vocabulary import Hold, MessageState, WakePolicy

Progress = Callable[[str], Awaitable[None]]
PROGRESS = frozenset({Hold.WAKING, Hold.HANDING_OVER, Hold.UNKNOWN})
HOPELESS = frozenset({Hold.STOPPED, Hold.CRASH_LOOPING})


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """Accepts messages; `arrived` sees that an identity's drain runs when there is one.

    `is_supervised` tells whether this process delivers, `is_live` whether an identity has a session, and
    `repeated` hears whose message was only the repetition of one that was accepted.
    """

    resolver: Resolver
    spool: Spool
    board: Board
    limits: Limits
    clock: Clock
    rate: RateLimit
    arrived: Callable[[Identity], None]
    is_supervised: Callable[[], bool]
    is_live: Callable[[Identity], bool]
    repeated: Callable[[Identity], Awaitable[None]]

    async def send(self, sender: Identity, request: SendRequest, progress: Progress | None = None) -> SendResult:
        """Accept one message and wait for its receipt while progress is under way.

        Raises a Refused, InvalidInput, or an error of the spool; then nothing was accepted. What repeats a
        message that was accepted is answered with that one, whatever would be refused by now.
        """
        wait = self._wait_seconds(request.wait_seconds)
        try:
            profile, recipient = self._recipient(sender, request)
        except Refused:
            repeated = await self._repeated(sender, request.draft)
            if repeated is None:
                raise
            return await self._answer_first(repeated, request, wait, progress)
        message = accept(request.draft, sender, recipient, hops=0, now=self.clock.wall())
        with self.board.watch(message.id, recipient) as watch:
            # A sender that goes away in between must not leave a message that nobody was told of.
            accepted = await self.spool.post(
                message,
                cap=self.limits.queue_cap,
                hop_limit=self.limits.hop_limit,
                then=lambda accepted: self._tell(sender, recipient),
            )
            if not accepted.duplicate:
                return await self._answer(accepted, profile, watch, request, wait, progress)
        return await self._answer_first(accepted, request, wait, progress)

    def _recipient(self, sender: Identity, request: SendRequest) -> tuple[Profile, Identity]:
        """Return who is meant; raises every Refused there is before anything is written."""
        profile, recipient = self.resolver.identity(request.personality, request.runtime)
        self.resolver.refuse_self(sender, recipient)
        self.resolver.refuse_unwakeable(recipient)
        self.rate.take(sender)
        return profile, recipient

    async def _repeated(self, sender: Identity, draft: Draft) -> Accepted | None:
        """Return the accepted message that a refused call repeats by its key, None if none is known."""
        if draft.idempotency_key is None:
            return None
        try:
            return await self.spool.repeated(sender, draft.idempotency_key, self.clock.wall())
        except SpoolError:
            return None

    async def _answer_first(
        self, accepted: Accepted, request: SendRequest, wait: float, progress: Progress | None
    ) -> SendResult:
        """Answer a repetition with what became of the first message, wherever that went."""
        first = accepted.message
        await self.repeated(first.sender)
        with self.board.watch(first.id, first.recipient) as watch:
            await self._catch_up(watch)
            profile = self.resolver.registry.get(first.recipient.personality)
            return await self._answer(accepted, profile, watch, request, wait, progress)

    def _tell(self, sender: Identity, recipient: Identity) -> None:
        """Tell the drains of both ends that a message is on disk."""
        self.arrived(recipient)
        self.board.sent(sender)

    async def _answer(
        self,
        accepted: Accepted,
        profile: Profile | None,
        watch: Watch,
        request: SendRequest,
        wait: float,
        progress: Progress | None,
    ) -> SendResult:
        is_explicit = request.wait_seconds is not None
        if wait > 0 and (is_explicit or self._reason(watch.identity, accepted, profile) in PROGRESS):
            await self._await_receipt(watch, accepted, profile, wait, is_explicit, progress)
        return self._result(accepted, profile, watch)

    def _wait_seconds(self, asked: float | None) -> float:
        if asked is None:
            return self.limits.wait_seconds
        if not 0 <= asked <= self.limits.wait_max_seconds:
            raise InvalidInput("wait_seconds", f"{asked:g} is not between 0 and {self.limits.wait_max_seconds:g}")
        return asked

    async def _catch_up(self, watch: Watch) -> None:
        record = await self.spool.message(watch.message_id)
        if record is not None and record.state in (MessageState.CONSUMED, MessageState.DEAD):
            watch.outcome = record.state
            watch.reason = record.reason

    async def _await_receipt(
        self,
        watch: Watch,
        accepted: Accepted,
        profile: Profile | None,
        wait: float,
        explicit: bool,
        progress: Progress | None,
    ) -> None:
        told: str | None = None
        with anyio.move_on_after(wait):
            while watch.outcome is None and not self.board.is_released:
                changed = watch.changed
                reason = self._reason(watch.identity, accepted, profile)
                if reason in HOPELESS or (not explicit and reason not in PROGRESS):
                    return
                if progress is not None and reason != told:
                    told = reason
                    await progress(f"{watch.identity.personality}: {reason}")
                await changed.wait()

    def _reason(self, identity: Identity, accepted: Accepted, profile: Profile | None) -> Hold:
        status = self.board.status(identity)
        if not self.is_supervised():
            return Hold.NO_SUPERVISOR
        if (flag := self.resolver.unwakeable(identity)) is not None:
            return flag
        if profile is not None and profile.wake_policy is WakePolicy.EPHEMERAL:
            return Hold.EPHEMERAL
        if status.hold is not None:
            return status.hold
        if accepted.depth > 1:
            return Hold.BUSY
        return Hold.HANDING_OVER if self.is_live(identity) else Hold.WAKING

    def _result(self, accepted: Accepted, profile: Profile | None, watch: Watch) -> SendResult:
        message: Message = accepted.message
        if watch.outcome is MessageState.DEAD:
            raise DeadLetter(f"{message.id} was given up: {watch.reason}; see: peerwake queue show {message.id}")
        delivered = watch.outcome is MessageState.CONSUMED
        reason = watch.reason if watch.outcome is not None else self._reason(watch.identity, accepted, profile)
        return SendResult(
            message_id=message.id,
            status=SendStatus.DELIVERED if delivered else SendStatus.QUEUED,
            personality=message.recipient.personality,
            runtime=message.recipient.runtime,
            host=host() if profile is None else profile.host,
            woke=watch.woke,
            queue_depth=max(accepted.depth - 1, 0) if delivered else accepted.depth,
            reason=None if delivered else reason,
            at=iso(self.clock.wall()),
            removed_controls=message.removed_controls,
            duplicate=accepted.duplicate,
        )
