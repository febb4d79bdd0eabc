"""The cold path: what runs on a tmux server, asked through libtmux in a thread under a deadline."""

import threading
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.from_thread
from anyio.lowlevel import current_token

from transport.tmux import commands
from transport.tmux.control import TmuxGone, TmuxUnknown
from transport.tmux.listener import answers
from transport.tmux.program import find_tmux

Rows = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PaneRow:
    """One pane; `command` is what runs in it now, as tmux names it."""

    pane_id: str
    pid: int
    dead: bool
    command: str


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One attached client; `activity` is the time of its latest key in wall seconds."""

    session: str
    pid: int
    control: bool
    read_only: bool
    activity: float


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything on one tmux server at one moment."""

    panes: tuple[PaneRow, ...]
    clients: tuple[ClientRow, ...]

    @property
    def people(self) -> tuple[ClientRow, ...]:
        """The clients a person can type into."""
        return tuple(row for row in self.clients if not row.control and not row.read_only)


class Surveyor:
    """Asks tmux servers; one that does not answer costs one waiting thread, however often it is asked."""

    def __init__(self) -> None:
        self._stuck: dict[Path, threading.Thread] = {}

    async def survey(self, socket: Path, deadline: float = 5.0) -> Survey:
        """Return the panes and clients of a server.

        Raises TmuxGone when nobody listens on the socket, TmuxUnknown without an answer in `deadline` seconds,
        or when the socket is another user's.
        """
        if not answers(socket):
            raise TmuxGone(f"no tmux server on {socket}")
        panes, clients = await self._in_thread(socket, deadline)
        return Survey(
            tuple(_pane(line) for line in panes),
            tuple(_client(line) for line in clients),
        )

    async def _in_thread(self, socket: Path, deadline: float) -> tuple[Rows, Rows]:
        earlier = self._stuck.get(socket)
        if earlier is not None and earlier.is_alive():
            raise TmuxUnknown(f"tmux on {socket} still owes the answer to an earlier question")
        answer: list[tuple[Rows, Rows] | BaseException] = []
        done, token = anyio.Event(), current_token()

        def work() -> None:
            try:
                answer.append((_ask(socket, commands.LIST_PANES), _ask(socket, commands.LIST_CLIENTS)))
            except BaseException as error:
                answer.append(error)
            try:
                anyio.from_thread.run_sync(done.set, token=token)
            except RuntimeError:
                return  # the event loop ended in the meantime: nobody waits any more

        thread = threading.Thread(target=work, daemon=True, name=f"survey {socket.name}")
        thread.start()
        with anyio.move_on_after(deadline):
            await done.wait()
        if not answer:
            self._stuck[socket] = thread
            raise TmuxUnknown(f"tmux on {socket} gave no answer in {deadline:g} s")
        self._stuck.pop(socket, None)
        if isinstance(answer[0], BaseException):
            raise answer[0]
        return answer[0]


def _ask(socket: Path, words: tuple[str, ...]) -> Rows:
    """Run one listing; libtmux is imported here because the command line never needs it."""
    from libtmux import Server

    done = Server(socket_path=socket, tmux_bin=find_tmux()).cmd(*words)
    if done.returncode:
        text = " ".join(done.stderr)
        if "no server running" in text or "no sessions" in text:
            raise TmuxGone(f"tmux on {socket}: {text}")
        if "no current target" in text:
            return ()
        raise TmuxUnknown(f"tmux on {socket}: {text or 'no reason given'}")
    return tuple(done.stdout)


def _pane(line: str) -> PaneRow:
    pane_id, pid, dead, command = line.split(" ", 3)
    return PaneRow(pane_id, int(pid), dead == "1", command)


def _client(line: str) -> ClientRow:
    """Read the row of a client; the name of its session, which may have blanks, comes last."""
    pid, control, read_only, activity, session = line.split(" ", 4)
    return ClientRow(session, int(pid), control == "1", read_only == "1", float(activity))
