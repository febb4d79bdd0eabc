"""A command on a terminal of its own: what it shows, and keys for it."""

import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.live.world import TOP, World, until

PREFIX = b"\x02"


@contextmanager
def at_a_terminal(world: World, *words: str, cwd: Path = TOP) -> Iterator["Terminal"]:
    """Run a command on a terminal of its own, which is closed in the end."""
    leader, follower = pty.openpty()
    argv = [sys.executable, "-m", "mcp_server", *words]
    env = world.env | {"TERM": "xterm"}
    process = subprocess.Popen(
        argv, env=env, cwd=cwd, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
    )
    os.close(follower)
    terminal = Terminal(process, leader)
    try:
        yield terminal
    finally:
        terminal.close()


class Terminal:
    """What a command on a terminal has shown so far, and the keyboard of that terminal."""

    def __init__(self, process: "subprocess.Popen[bytes]", leader: int) -> None:
        self.process = process
        self._leader = leader
        self._shown = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def shown(self) -> str:
        return self._shown.decode("utf-8", "replace")

    def shows(self, text: str, seconds: float = 30.0) -> None:
        until(lambda: text in self.shown, seconds, f"{text!r} on the terminal")

    def type(self, text: bytes) -> None:
        os.write(self._leader, text)

    def command(self, keys: bytes) -> None:
        """Press the prefix of tmux and what follows, as a person does, who looks first at what has been drawn.

        tmux takes what comes within a millisecond of its client's attach for a paste, in which no key is bound.
        """
        seen = -1

        def is_still() -> bool:
            nonlocal seen
            before, seen = seen, len(self._shown)
            return before == seen

        until(is_still, 10, "a terminal on which nothing more is drawn")
        self.type(PREFIX + keys)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        os.close(self._leader)

    def _read(self) -> None:
        with suppress(OSError):
            while self.process.poll() is None or select.select([self._leader], [], [], 0)[0]:
                if select.select([self._leader], [], [], 0.1)[0]:
                    self._shown += os.read(self._leader, 1 << 16)
