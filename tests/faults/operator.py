"""The operator of a run: sees to it that servers run, as a service manager would."""

import socket
import subprocess
import threading
from dataclasses import dataclass, field
from random import Random
from typing import Final

from tests.faults.plan import actor
from tests.live.world import World

LOOK_SECONDS: Final = 0.05
DELAYS: Final = (0.1, 0.3, 1.0, 2.0)


@dataclass(slots=True)
class Operator:
    """Keeps one or two servers of ours running; the seed says how many, and how long a restart takes."""

    world: World
    seed: int
    started: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    random: Random = field(init=False)
    wanted: int = field(init=False)
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.random = actor(self.seed, "operator")
        self.wanted = self.random.choice([1, 2])
        self.thread = threading.Thread(target=self._run, name="operator")

    def _run(self) -> None:
        while not self.over.wait(LOOK_SECONDS):
            while len(self._alive()) < self.wanted:
                if self.over.wait(self.random.choice(DELAYS) if self.started >= self.wanted else 0):
                    return
                self.world.start_server()
                self.started += 1

    def _alive(self) -> list[subprocess.Popen[bytes]]:
        """Return the servers that live, and forget the others."""
        self.world.servers[:] = [server for server in self.world.servers if server.poll() is None]
        return self.world.servers

    def start(self) -> None:
        """Start servers, now and whenever one is missing."""
        self.thread.start()

    def stop(self) -> None:
        """Start no more servers; may be said more than once."""
        self.over.set()
        if self.thread.ident is not None:
            self.thread.join()


def is_served(world: World) -> bool:
    """Tell whether something accepts connections on the server's socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(world.root.server_socket))
        except OSError:
            return False
        return True
