"""A private tmux with one pane, driven through the plain command, for what runs in a terminal."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from transport.screen import Screen, screen_of

AGENT = Path(__file__).parents[3] / "lifecycle" / "runtimes" / "agents" / "scripted.py"
SECONDS = 30.0


def children(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listing.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


class Terminal:
    """One tmux server on a socket of its own; `home` is a directory for the program in the pane."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._socket = home / "t.sock"
        self._ended = home / "ended"

    def tmux(self, *words: str, stdin: str | None = None) -> str:
        argv = ["tmux", "-f", "/dev/null", "-S", str(self._socket), *words]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=True)
        return done.stdout

    def start(self, *words: str, columns: int = 100, rows: int = 30, env: dict[str, str] | None = None) -> None:
        settings = [f"-e{name}={value}" for name, value in (env or {}).items()]
        size = ("-x", str(columns), "-y", str(rows))
        self._ended.unlink(missing_ok=True)
        keep = ("sh", "-c", f'"$@"; echo $? > {self._ended}; exec sleep 1000', "sh")
        begin = ("respawn-pane", "-k") if self._socket.exists() else ("new-session", "-d", *size)
        self.tmux(*begin, "-c", str(self.home), *settings, "--", *keep, *words)

    def start_agent(self, *words: str, **options) -> None:
        self.start(sys.executable, "-I", "-S", str(AGENT), *words, **options)

    def text(self) -> str:
        return self.tmux("capture-pane", "-p").rstrip("\n")

    def screen(self) -> Screen:
        x, y = self.tmux("display", "-p", "#{cursor_x} #{cursor_y}").split()
        return screen_of(self.tmux("capture-pane", "-p").removesuffix("\n"), cursor=(int(x), int(y)))

    def paste(self, text: str) -> None:
        self.tmux("load-buffer", "-b", "b", "-", ";", "paste-buffer", "-p", "-r", "-d", "-b", "b", stdin=text)

    def type(self, text: str) -> None:
        self.tmux("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def submit(self, text: str) -> None:
        self.paste(text)
        self.sees(text.split("\n")[-1][:40] if text.count("\n") < 12 else "[Pasted text")
        self.press("Enter")

    def sees(self, text: str) -> None:
        self.until(lambda: text in self.text(), f"{text!r} on the screen")

    def until(self, is_so: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not is_so():
            assert time.monotonic() < deadline, f"no {what}; the screen:\n{self.text()}"
            time.sleep(0.005)

    def ended(self) -> int:
        """Exit status of the program once it has ended, 128 and more for a signal."""
        self.until(lambda: self._ended.exists() and self._ended.read_text().endswith("\n"), "end of the program")
        return int(self._ended.read_text())

    def pid(self) -> int:
        """The program in the pane."""
        (pid,) = children(int(self.tmux("display", "-p", "#{pane_pid}")))
        return pid

    def close(self) -> None:
        if self._socket.exists():
            argv = ["tmux", "-S", str(self._socket), "kill-server"]
            subprocess.run(argv, capture_output=True, timeout=SECONDS, check=False)
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp")))
    yield made
    made.close()
