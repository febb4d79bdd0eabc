"""Bare tmux servers that do nothing, cheap enough to kill by the dozen, and readers of what their deaths leave."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lifecycle import canary
from tests.live.world import until
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, identify, start_detached, terminate
from transport.tmux.listener import answers
from transport.tmux.program import find_tmux


@dataclass
class Cages:
    """The tmux servers of one test; `close` ends what is left of them and of the watcher."""

    root: Root
    servers: dict[Identity, ProcessId] = field(default_factory=dict)

    def start(self, name: str) -> ProcessId:
        """Start a tmux server that runs `sleep`, orphaned like a real one, and return it."""
        identity = Identity("scripted", name)
        socket = self.root.tmux_socket(identity)
        tmux = [find_tmux(), "-f", "/dev/null", "-S", str(socket)]
        argv = ["/bin/sh", "-c", '"$@" >/dev/null 2>&1 & echo $! >"$0"', f"{socket}.pid", *tmux, "-D"]
        with start_detached(argv, env={"PATH": os.environ["PATH"]}, cwd=Path("/")) as shell:
            shell.wait(10)
        until(lambda: answers(socket), 10, "the start of tmux")
        subprocess.run(
            [*tmux, "-N", "new-session", "-d", "-s", str(identity), "--", "/bin/sleep", "600"], check=True, timeout=20
        )
        server = identify(int(Path(f"{socket}.pid").read_text()))
        assert server is not None
        self.servers[identity] = server
        return server

    def start_watched(self, *names: str) -> list[ProcessId]:
        """Start servers and see that they are watched."""
        started = [self.start(name) for name in names]
        for name, server in zip(names, started, strict=True):
            identity = Identity("scripted", name)
            result = canary.ensure(self.root, identity, server)
            assert result in (canary.Ensured.SPAWNED, canary.Ensured.ALREADY)
        self.settle()
        return started

    def settle(self) -> None:
        """Return when the watcher holds a descriptor of every server that is to be watched."""
        files = [path for path in canary.directory(self.root).iterdir() if path.name[0] != "." and path.stat().st_size]
        until(lambda: len(self.held()) >= len(files), 10, "the watch over all servers")

    def watchers(self) -> list[ProcessId]:
        """Return every watcher process of this root, also a child of one that takes a snapshot."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"watcher.py\0{self.root.home}\0".encode() in (entry / "cmdline").read_bytes():
                    found.append(identify(int(entry.name)))
        return [process for process in found if process is not None]

    def only_watcher(self) -> ProcessId:
        """Return the watcher once no child of it takes a snapshot any more."""
        return until(lambda: found[0] if len(found := self.watchers()) == 1 else None, 10, "one watcher")

    def held(self) -> list[str]:
        """Return the pidfds that the watcher holds."""
        found = []
        with suppress(OSError):
            for descriptor in Path(f"/proc/{self.only_watcher().pid}/fd").iterdir():
                with suppress(OSError):
                    if "pidfd" in str(descriptor.readlink()):
                        found.append(descriptor.name)
        return found

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Kill one server and return when it is dead."""
        server = self.servers[Identity("scripted", name)]
        terminate(server, number)
        until(lambda: not server.is_alive(), 10, "the death of tmux")

    def lines(self) -> list[dict[str, str]]:
        """Return the lines of exits.log as fields."""
        try:
            text = (self.root.logs / "exits.log").read_text("utf-8")
        except FileNotFoundError:
            return []
        assert not text or text.endswith("\n")
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]

    def deaths(self, count: int, seconds: float = 10) -> list[dict[str, str]]:
        """Wait for lines of server deaths, and see that there are not more of them."""
        until(lambda: len(self.lines()) >= count, seconds, f"{count} lines")
        found = self.lines()
        assert len(found) == count, found
        return found

    def snapshot(self, line: dict[str, str]) -> str:
        """Return the snapshot that a line names, waiting until it is there."""
        path = self.root.logs / line["forensics"]
        until(path.exists, 10, "the snapshot")
        return path.read_text("utf-8")

    def close(self) -> None:
        """Kill what is left; the watcher ends by itself."""
        for server in self.servers.values():
            terminate(server, signal.SIGKILL)
        until(lambda: not self.watchers(), 20, "the end of the watcher")


@contextmanager
def cages(root: Root) -> Iterator[Cages]:
    """Yield cages that are closed in the end."""
    made = Cages(root)
    try:
        yield made
    finally:
        made.close()


def wall_of(line: dict[str, str]) -> float:
    """Return the time of a line in wall seconds."""
    return datetime.fromisoformat(line["ts"]).timestamp()


def pause() -> None:
    """Let the watcher write what it must not write: there is no event to wait for."""
    time.sleep(0.3)
