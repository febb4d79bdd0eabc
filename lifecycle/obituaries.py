"""The lines about deaths in lifecycle.log: one each, or one for many that died at once."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import anyio.to_thread
from anyio.abc import TaskGroup

from lifecycle.autopsy import Body, DeathClass, Verdict, verdicts
from lifecycle.limits import Limits
from transport.clock import Clock
from transport.identity import Identity
from transport.logs import Logs
from transport.process import ProcessId

PAUSE_SECONDS: Final = 0.25
NAMED: Final = 20
REMEMBERED: Final = 10_000
EVIDENCE_SECONDS: Final = 3.0
UNEXPLAINED: Final = "nothing in exits.log says why"


@dataclass(frozen=True, slots=True)
class Death:
    """`at` is monotonic seconds, `tmux` its server."""

    at: float
    event: str
    identity: Identity
    tmux: ProcessId | None


@dataclass(slots=True)
class Obituaries:
    """Collects deaths for a moment; without a task group to wait in, each is written at once."""

    logs: Logs
    clock: Clock
    limits: Limits
    tasks: TaskGroup | None = None
    _unwritten: list[Death] = field(default_factory=list)
    _recent: deque[Death] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _pause: float = PAUSE_SECONDS

    def add(self, event: str, identity: Identity, tmux: ProcessId | None) -> None:
        """Have a death written, alone or with others."""
        death = Death(self.clock.monotonic(), event, identity, tmux)
        self._recent.append(death)
        self._unwritten.append(death)
        if self.tasks is None:
            self.flush()
        elif len(self._unwritten) == 1:
            self.tasks.start_soon(self._flush_later)

    async def _flush_later(self) -> None:
        """Write when nobody has died for a moment, after `mass_death_seconds` at the latest."""
        first, count = self.clock.monotonic(), 0
        while count < len(self._unwritten) and self.clock.monotonic() - first < self.limits.mass_death_seconds:
            count = len(self._unwritten)
            await self.clock.sleep(self._pause)
        self.flush(await self._evidence())

    async def _evidence(self) -> dict[Body, Verdict]:
        """Return what is written of the deaths; a line comes within milliseconds, on a busy machine within seconds."""
        until = self.clock.monotonic() + EVIDENCE_SECONDS
        while True:
            known = await anyio.to_thread.run_sync(self._verdicts)
            is_complete = known.keys() >= self._bodies()
            if is_complete or self.clock.monotonic() >= until:
                return known
            await self.clock.sleep(PAUSE_SECONDS)

    def _bodies(self) -> set[Body]:
        return {(death.identity, death.tmux) for death in self._unwritten if death.tmux is not None}

    def _verdicts(self) -> dict[Body, Verdict]:
        """Return what exits.log says of the deaths that are to be written; blocking."""
        return verdicts(self.logs.exits.path, self._bodies())

    def flush(self, known: Mapping[Body, Verdict] | None = None) -> None:
        """Write what has not been written yet, each with its class and cause as `exits.log` has them."""
        known = self._verdicts() if known is None else known
        unwritten, self._unwritten = self._unwritten, []
        if not unwritten:
            return
        while self._recent[0].at < unwritten[0].at - self.limits.mass_death_seconds:
            self._recent.popleft()
        if len(self._recent) < self.limits.mass_death_count:
            self._pause = PAUSE_SECONDS
            for death in unwritten:
                verdict = death.tmux and known.get((death.identity, death.tmux))
                verdict = verdict or Verdict(DeathClass(death.event), UNEXPLAINED)
                pid = death.tmux and death.tmux.pid
                self.logs.lifecycle.write(verdict.kind, identity=death.identity, tmux=pid, reason=verdict.reason)
            return
        # While it goes on, the next line waits for the whole time in which deaths belong together.
        self._pause = self.limits.mass_death_seconds
        self._write_mass()

    def _write_mass(self) -> None:
        dead = sorted({death.identity for death in self._recent})
        named = ",".join(map(str, dead[:NAMED])) + (f",+{len(dead) - NAMED}" if len(dead) > NAMED else "")
        self.logs.lifecycle.write("mass-death", count=len(self._recent), identities=named)
        self._recent.clear()
