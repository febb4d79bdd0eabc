"""What a tick does besides looking at sessions: what is too old goes, what grows is kept small."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from lifecycle import canary
from lifecycle.canary import Ensured
from lifecycle.deck import Deck
from lifecycle.inbox import inbox_of
from lifecycle.panelogs import PaneLogs
from lifecycle.steady import SteadyWall
from transport.bulkhead import Area, NoAnswer
from transport.identity import Identity
from transport.leftovers import clear_leftovers
from transport.logs import Logs
from transport.message import MESSAGE_ID
from transport.process import ProcessId
from transport.profile import Profile

SELDOM_SECONDS: Final = 3_600.0
DAY_SECONDS: Final = 86_400.0
ROUNDS: Final = 20
AT_ONCE: Final = 8
TIDY_SECONDS: Final = 30.0


@dataclass(slots=True)
class Upkeep:
    """Used by the tick of one supervisor; `watched` are the tmux servers of the live sessions."""

    deck: Deck
    logs: Logs
    watched: Callable[[], Mapping[Identity, ProcessId]]
    wall: SteadyWall = field(init=False)
    _seldom_at: float | None = None
    _visited_at: float | None = None
    _until: float = 0.0

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
            self._seldom_at, self._until = now, anyio.current_time() + TIDY_SECONDS
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
        """Delete what was settled long ago: the files of long bodies first, then the messages.

        A file in a directory that gives no answer stays, like one that cannot be removed. Where there are so many
        of these that the time is up, the messages stay until the next round.
        """
        keep, spool = self.deck.limits.keep_settled_seconds, self.deck.spool
        now = self.wall.now(keep)
        total = 0
        for _ in range(ROUNDS):
            old = await spool.purgeable(now - keep, now)
            if not old:
                break
            _, is_done = await self._in_directories(self._bodies(old))
            if not is_done:
                break
            total += await spool.purge(now - keep, now)
        if total:
            self.logs.delivery.write("purged", count=total)

    async def _clear_leftovers(self) -> None:
        """Remove what killed processes left half-written, here and where the peers keep what we write for them.

        Each peer's directory costs a thread: they come at the start, and then once a day.
        """
        root, registry = self.deck.terminals.root, self.deck.resolver.registry
        here = [root.home, root.state, root.run, root.run / "prompts"]
        count = await anyio.to_thread.run_sync(clear_leftovers, here)
        now = self.deck.clock.monotonic()
        if self._visited_at is None or now - self._visited_at >= DAY_SECONDS:
            profiles = registry.snapshot().peers.values()
            tasks = ((each, partial(clear_leftovers, _ours(each))) for each in profiles)
            theirs, is_done = await self._in_directories(tasks)
            count += theirs
            self._visited_at = now if is_done else None
        if count:
            self.logs.lifecycle.write("leftovers", removed=count)

    def _bodies(self, messages: Iterable[tuple[str, Identity]]) -> Iterator[tuple[Profile, Callable[[], int]]]:
        """Yield what removes the files of the bodies of messages, for each peer."""
        found: dict[str, list[Path]] = {}
        registry = self.deck.resolver.registry
        for message_id, recipient in messages:
            profile = registry.get(recipient.personality)
            if profile is not None and MESSAGE_ID.fullmatch(message_id):
                found.setdefault(profile.name, []).append(_ours(profile)[1] / f"{message_id}.txt")
        for name, paths in found.items():
            if (profile := registry.get(name)) is not None:
                yield profile, partial(remove_bodies, paths)

    async def _in_directories(self, tasks: Iterable[tuple[Profile, Callable[[], int]]]) -> tuple[int, bool]:
        """Return the sum of counts in the directories of peers, and whether there was time to come to all of them.

        They are looked at a few at a time; who gives no answer is left out.
        """
        todo, counts, bulkhead = iter(tasks), list[int](), self.deck.terminals.bulkhead

        async def some() -> None:
            for profile, work in todo:
                directory = bulkhead.of(Area.DIRECTORY, Identity(profile.default_runtime, profile.name))
                with suppress(NoAnswer):
                    counts.append(await directory.run(profile.cwd, work))

        with anyio.CancelScope(deadline=self._until) as time:
            async with anyio.create_task_group() as group:
                for _ in range(AT_ONCE):
                    group.start_soon(some)
        return sum(counts), not time.cancelled_caught


def _ours(profile: Profile) -> tuple[Path, Path]:
    """Return where we keep files for a peer, the second of them those of long bodies."""
    inbox = inbox_of(profile.cwd)
    return inbox.parent, inbox


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
