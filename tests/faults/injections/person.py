"""A person at an agent's terminal: attached with tmux on a terminal of their own, and looking before pressing Enter."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from tests.faults.fault import SESSIONS, Field, Heal
from tests.faults.injections.grip import Grip, any_session
from transport.tmux.program import find_tmux

ATTACH_SECONDS = 3.0
LOOK_SECONDS = 0.05
DRAFT_SECONDS = 10.0
BACKSPACE = b"\x7f"
ENTER = b"\r"


class Person:
    """Somebody attached; `close` hangs up."""

    def __init__(self, held: Grip, columns: int = 100, rows: int = 30, *flags: str) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        session = f"={held.peer.identity}"
        argv = [find_tmux(), "-u", "-N", "-S", str(held.socket), "attach-session", "-t", session, *flags]
        env = {"TERM": "screen", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            argv, stdin=follower, stdout=follower, stderr=follower, env=env, start_new_session=True
        )
        os.close(follower)
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def is_attached(self) -> bool:
        return self._process.poll() is None

    def type(self, keys: bytes) -> None:
        with suppress(OSError):
            os.write(self._leader, keys)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._over.set()
        self._reader.join(5)
        os.close(self._leader)

    def _read(self) -> None:
        with suppress(OSError):
            while not self._over.is_set():
                if select.select([self._leader], [], [], 0.1)[0] and not os.read(self._leader, 1 << 16):
                    return


def attach(held: Grip, columns: int = 100, rows: int = 30, *flags: str) -> Person | None:
    """Attach, and return when tmux has the client; None when that does not succeed."""
    before = held.tmux("list-clients") or ""
    person = Person(held, columns, rows, *flags)
    deadline = time.monotonic() + ATTACH_SECONDS
    while time.monotonic() < deadline and person.is_attached and held.is_there():
        if len((held.tmux("list-clients") or "").splitlines()) > len(before.splitlines()):
            return person
        time.sleep(LOOK_SECONDS)
    person.close()
    return None


@dataclass(frozen=True, slots=True)
class Draft:
    """A person types a line at random moments; `end` says what becomes of it."""

    name: str
    end: Callable[["Typist"], None]
    weight: float = 1.0

    def strike(self, field: Field, random: Random) -> Heal | None:
        held = any_session(field, random, *SESSIONS)
        person = None if held is None else attach(held)
        if held is None or person is None:
            return None
        typist = Typist(field, held, person, random, f"draft{random.randrange(1 << 48):012x}")
        field.trace(f"{self.name}: {held.peer.identity}, {typist.text}")
        if self.end is not Typist.submit:
            field.expects.draft(held.peer.identity, typist.text)
        sitting = field.expects.sits(held.peer.identity, typist.text)
        typist.begin()

        def heal() -> None:
            sitting.takes_back = time.time()
            typist.finish()
            self.end(typist)
            sitting.ended = time.time()

        return heal


class Typist:
    """Types a text key by key in a thread of its own, knows how far it came, and looks before it does more."""

    def __init__(self, field: Field, held: Grip, person: Person, random: Random, text: str) -> None:
        self.held = held
        self.person = person
        self.text = text
        self.typed = ""
        self._field = field
        self._pauses = [random.random() ** 3 * 0.3 for _ in text]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._type, daemon=True)

    def begin(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Stop typing where it is."""
        self._over.set()
        self._thread.join()

    def _type(self) -> None:
        for char, pause in zip(self.text, self._pauses, strict=True):
            if not self.held.is_there() or not self.person.is_attached:
                return
            self.person.type(char.encode())
            self.typed += char
            if self._over.wait(pause):
                return

    def delete(self) -> None:
        """Take the draft back by as many backspaces, and go."""
        self._delete()
        self.person.close()

    def leave(self) -> None:
        """Hang up with the draft standing there; come back later and take it away."""
        self.person.close()
        person = attach(self.held) if self.held.is_there() else None
        if person is not None:
            self.person = person
            self.delete()

    def submit(self) -> None:
        """Press Enter when exactly the draft stands there, else take it back."""
        text = self.typed
        if text and self._until(lambda shown: shown == text):
            self._field.expects.typed(self.held.peer.identity, text)
            self.person.type(ENTER)
            self._until(lambda shown: text not in shown)
            self.person.close()
        else:
            self._field.expects.draft(self.held.peer.identity, self.text)
            self.delete()

    def _delete(self) -> None:
        """Press backspace while the screen shows what is left of the draft at the end of the input line."""
        left, deadline = self.typed, time.monotonic() + DRAFT_SECONDS
        while left and self.held.is_there() and self.person.is_attached and time.monotonic() < deadline:
            shown = self.held.composer()
            if shown is None or not _bare(shown).endswith(left):
                time.sleep(LOOK_SECONDS)
                continue
            self.person.type(BACKSPACE * len(left))
            self._until(lambda shown, left=left: left[0] != _bare(shown)[-1:] and left not in _bare(shown))
            left = ""

    def _until(self, holds: Callable[[str], bool]) -> bool:
        deadline = time.monotonic() + DRAFT_SECONDS
        while self.held.is_there() and time.monotonic() < deadline:
            shown = self.held.composer()
            if shown is not None and holds(shown):
                return True
            time.sleep(LOOK_SECONDS)
        return False


def _bare(shown: str) -> str:
    """Return the input line without the white space of its wrapping."""
    return "".join(shown.split())


DRAFTS = (
    Draft("draft typed and deleted", Typist.delete),
    Draft("draft typed and left", Typist.leave),
    Draft("prompt typed and submitted", Typist.submit),
)
