"""What a tick does besides looking at sessions: what is too old goes, what grows is kept small."""

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio.to_thread

from lifecycle import canary
from lifecycle.canary import Ensured
from lifecycle.deck import Deck
from lifecycle.panelogs import PaneLogs
from lifecycle.steady import SteadyWall
from transport.identity import Identity
from transport.leftovers import clear_leftovers
from transport.logs import Logs
from transport.message import MESSAGE_ID
from transport.process import ProcessId

SELDOM_SECONDS: Final = 3_600.0
ROUNDS: Final = 20


@dataclass(slots=True)
class Upkeep:
    """Used by the tick of one supervisor; `watched` are the tmux servers of the live sessions."""

    deck: Deck
    logs: Logs
    watched: Callable[[], Mapping[Identity, ProcessId]]
    wall: SteadyWall = field(init=False)
    _seldom_at: float | None = None

    def __post_init__(self) -> None:
        self.wall = SteadyWall(self.deck.clock)

    async def run(self) -> None:
        """Do what is due."""
        self.wall.look()
        await self.ensure_canary()
        await self.expire()
        now = self.deck.clock.monotonic()
        is_due = self._seldom_at is None or now - self._seldom_at >= SELDOM_SECONDS
        await self._trim_pane_logs(is_thorough=is_due)
        if is_due:
            self._seldom_at = now
            await self._purge()
            await self._clear_leftovers()

    async def ensure_canary(self) -> None:
        """See that somebody outside this server writes down what kills a tmux server."""
        servers = dict(self.watched())
        root, scope = self.deck.terminals.root, self.deck.waker.launcher.scope
        result = await anyio.to_thread.run_sync(lambda: canary.ensure_all(root, servers, scope=scope))
        if result is not Ensured.ALREADY:
            self.logs.lifecycle.write("canary", result=result, servers=len(servers))
        # The hook and the canary write to it as well, and they never rotate.
        await anyio.to_thread.run_sync(self.logs.exits.rotate)

    async def expire(self) -> None:
        """Give up what has waited for longer than its time to live."""
        ttl = self.deck.limits.message_ttl_seconds
        for dead in await self.deck.spool.expire(self.wall.now(ttl), ttl, wall=self.deck.clock.wall()):
            self.deck.settler.buried(dead)

    async def _trim_pane_logs(self, *, is_thorough: bool) -> None:
        """Rotate the logs that are written to; the others are looked at seldom, they do not grow."""
        limits, live = self.deck.limits, tuple(self.watched())
        now = self.wall.now(limits.pane_log_keep_seconds)
        logs = PaneLogs(
            self.deck.terminals.root,
            limits.pane_log_bytes,
            limits.pane_log_budget_bytes,
            limits.pane_log_keep_seconds,
        )
        failures = await anyio.to_thread.run_sync(lambda: logs.trim(live, now) if is_thorough else logs.rotate(live))
        if failures:
            self.logs.lifecycle.write("pane-logs", failures=failures)

    async def _purge(self) -> None:
        """Delete what was settled long ago: the files of long bodies first, then the messages."""
        keep, spool = self.deck.limits.keep_settled_seconds, self.deck.spool
        now = self.wall.now(keep)
        total = 0
        for _ in range(ROUNDS):
            old = await spool.purgeable(now - keep, now)
            if not old:
                break
            await anyio.to_thread.run_sync(remove_bodies, list(self._body_files(old)))
            total += await spool.purge(now - keep, now)
        if total:
            self.logs.delivery.write("purged", count=total)

    async def _clear_leftovers(self) -> None:
        """Remove what killed processes left half-written, here and where the peers keep what we write for them."""
        root, registry = self.deck.terminals.root, self.deck.resolver.registry

        def clear() -> int:
            profiles = registry.snapshot().peers.values()
            ours = [path for each in profiles for path in (each.cwd / ".peerwake", each.cwd / ".peerwake/inbox")]
            return clear_leftovers([root.home, root.state, root.run, root.run / "prompts", *ours])

        if count := await anyio.to_thread.run_sync(clear):
            self.logs.lifecycle.write("leftovers", removed=count)

    def _body_files(self, messages: Iterable[tuple[str, Identity]]) -> Iterable[Path]:
        for message_id, recipient in messages:
            profile = self.deck.resolver.registry.get(recipient.personality)
            if profile is not None and MESSAGE_ID.fullmatch(message_id):
                yield profile.cwd / ".peerwake" / "inbox" / f"{message_id}.txt"


def remove_bodies(paths: Iterable[Path]) -> int:
    """Remove files that are there, regular and ours; returns how many. Blocking."""
    removed = 0
    for path in paths:
        try:
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
                path.unlink()
                removed += 1
        except OSError:
            continue
    return removed
