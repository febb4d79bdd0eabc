"""How a hand-over ends in the spool, and who is told."""

from collections.abc import Callable
from dataclasses import dataclass

from lifecycle.board import Board
from lifecycle.limits import Limits
from lifecycle.steady import SteadyWall
from transport.clock import Clock
from transport.identity import Identity
from transport.logs import Logs
from transport.spool.records import Buried, Lease
from transport.spool.spool import Spool
from transport.vocabulary import Hold, MessageState, Stage


@dataclass(frozen=True, slots=True)
class Settler:
    """Consumes, returns or buries leased messages; every outcome leaves a line in delivery.log."""

    spool: Spool
    board: Board
    logs: Logs
    clock: Clock
    limits: Limits
    kick: Callable[[Identity], None]

    async def consumed(self, lease: Lease, evidence: str) -> None:
        """Settle a message whose receipt was seen."""
        message = lease.message
        await self.spool.consume(message.id, evidence, self.clock.wall(), fence=lease.fence)
        self.logs.delivery.write(
            "consumed", identity=message.recipient, id=message.id, sender=message.sender, evidence=evidence
        )
        self.board.settle(message.recipient, message.id, MessageState.CONSUMED, None)

    async def returned(self, lease: Lease, reason: Hold) -> None:
        """Put a message of which nothing was typed back to the head of its queue."""
        await self.spool.release(lease.message.id, reason, self.clock.wall(), attempted=False, fence=lease.fence)

    async def failed(self, lease: Lease, reason: str, *, attempts: int | None = None) -> float | None:
        """Count a failed attempt: back to the head after a pause, or a dead letter after the last.

        Returns the pause in seconds, None when the message was given up.
        """
        message, now, reason = lease.message, self.clock.wall(), _storable(reason)
        if lease.attempts + 1 >= (attempts or self.limits.attempts):
            await self.bury(lease, reason)
            return None
        pause: float = min(self.limits.backoff_seconds * 2**lease.attempts, self.limits.backoff_max_seconds)
        await self.spool.release(message.id, reason, now, not_before=now + pause, attempted=True, fence=lease.fence)
        self.logs.delivery.write(
            "attempt-failed", identity=message.recipient, id=message.id, reason=reason, attempt=lease.attempts + 1
        )
        return pause

    async def fault(self, identity: Identity, error: Exception, wall: SteadyWall) -> None:
        """Count a fault of ours against the message in hand; what may have been typed, when it is old."""
        lease = await self.spool.leased(identity)
        if lease is None:
            return
        reason = f"a fault of ours: {type(error).__name__}: {error}"
        if lease.stage is Stage.HELD:
            await self.failed(lease, reason)
        elif wall.is_older(lease.leased_at, self.limits.message_ttl_seconds):
            await self.bury(lease, reason)

    async def bury(self, lease: Lease, reason: str) -> None:
        """Make a message a dead letter; its sender gets a notice."""
        self.buried(await self.spool.bury(lease.message.id, _storable(reason), self.clock.wall(), fence=lease.fence))

    def buried(self, dead: Buried) -> None:
        """Log a dead letter, tell who waits for it, and see that its notice is delivered."""
        self.logs.delivery.write(
            "dead-letter", identity=dead.recipient, id=dead.id, sender=dead.sender, reason=dead.reason
        )
        self.board.settle(dead.recipient, dead.id, MessageState.DEAD, dead.reason)
        if dead.notice is not None:
            self.kick(dead.notice.recipient)


def _storable(reason: str) -> str:
    """Return a reason that the spool can hold, wherever its text came from (a screen, a path)."""
    return reason.encode("utf-8", "replace").decode()
