"""Peers that never take anything: one whose client cannot start, one that is never ready and is removed with its mail.

All that is sent to them is given up, and each sender is told once.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.faults.fault import Peer
from tests.faults.plan import actor
from tests.faults.senders import Sender, Wish
from tests.live.world import World

POLICY: Final = "unready"
BOOTS: Final[dict[str, dict[str, Any]]] = {
    "broken": {"exit": 3},
    "leaver": {"dialogs": [{"text": "A question that nobody has heard before", "options": ["Yes", "No"]}]},
}
LEAVER: Final = "leaver"
STAY_SECONDS: Final = (6.0, 20.0)
AGAIN_SECONDS: Final = 0.5
END_SECONDS: Final = 90.0


def make_unready(world: World) -> list[Peer]:
    """Create these peers."""
    return [make_one(world, name) for name in BOOTS]


def make_one(world: World, name: str) -> Peer:
    """Create one of them."""
    cwd = world.root.peers / name
    cwd.mkdir(exist_ok=True)
    (cwd / "scripted.json").write_text(json.dumps({"boot": BOOTS[name]}))
    done = world.run("create", name, "--runtime", "scripted")
    if done.returncode:
        raise OSError(done.stderr)
    return Peer(name, f"scripted-{name}", POLICY, cwd)


@dataclass(slots=True)
class LetterWriter(Sender):
    """Writes to those who never answer."""

    def _recipient(self, wished: Wish) -> Peer | None:
        open_to = [peer for peer in self.peers if self.tally.has_room(peer)]
        return actor(self.seed, f"{self.name}/{self.number}/recipient").choice(open_to) if open_to else None


@dataclass(slots=True)
class Registrar:
    """Removes the leaver in the middle of everything, its mail waiting, and has another one of its name come."""

    world: World
    random: Random
    trace: Callable[[str], None]
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, name="registrar")

    def _run(self) -> None:
        while not self.over.wait(self.random.uniform(*STAY_SECONDS)):
            if self._until(self._is_removed):
                self._until(self._is_back)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> bool:
        """Remove the last one for good; False where that does not succeed. Say it when nobody writes any more."""
        self.over.set()
        if self.thread.ident is not None:
            self.thread.join()
        return self._until(self._is_removed)

    def _until(self, succeeds: Callable[[], bool]) -> bool:
        """Repeat, as an operator would: the server may be stopped, killed, or without a disk."""
        pause = threading.Event()
        for _ in range(int(END_SECONDS / AGAIN_SECONDS)):
            if succeeds():
                return True
            pause.wait(AGAIN_SECONDS)
        return False

    def _is_removed(self) -> bool:
        done = self.world.run("remove", LEAVER, "--force")
        self.trace(f"remove {LEAVER}: exit {done.returncode} {done.stderr[-200:].strip()!r}")
        return done.returncode == 0 or f"no peer {LEAVER!r}" in done.stderr

    def _is_back(self) -> bool:
        try:
            make_one(self.world, LEAVER)
        except OSError as error:
            self.trace(f"create {LEAVER}: {error}")
            return "taken" in str(error) or "exists" in str(error)
        return True
