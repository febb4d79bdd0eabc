"""A persistent control client of one tmux server: a round trip costs microseconds, and tells unknown from gone."""

import os
import secrets
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.process import DeadlinePassed, ProcessId, is_stopped, run, start_piped, terminate
from transport.tmux import commands
from transport.tmux.lock import acquire, note
from transport.tmux.parser import Block, Exit, Garbled, Parser
from transport.tmux.peer import ForeignSocket, check_socket

DEADLINE: Final = 5.0
HELLO_SECONDS: Final = 1.0
DEATH_SECONDS: Final = 0.2
SOCKET_SECONDS: Final = 1.0
LEAVE_SECONDS: Final = 0.5
ATTACH_SECONDS: Final = 2.0
CHUNK: Final = 1 << 16
GONE: Final = ("can't find session", "can't find pane", "no sessions")
CLIENT_ENV: Final = {"PATH": os.defpath, "TERM": "dumb"}


class TmuxUnknown(PeerwakeError):
    """The question got no answer: the session is neither alive nor dead, nothing may be decided."""

    code = "tmux-unknown"


class TmuxGone(PeerwakeError):
    """The server, session or pane certainly does not exist any more."""

    code = "tmux-gone"


class TmuxRefused(PeerwakeError):
    """tmux understood the command and refused it; the text is its own."""

    code = "tmux-refused"


class ControlClient:
    """One `tmux -C` client, opened at the first command and again after it was closed.

    It attaches to `session` or, where that was renamed, to the session in which `pane` is.
    The socket has to be its `owner`'s (a uid, ours by default).
    Commands are run one batch at a time. With `lock`, the open client holds that file's kernel lock,
    and so does its child until it is gone, also after a crash of ours.
    """

    def __init__(
        self,
        *,
        tmux: str,
        socket: Path,
        session: str,
        server: ProcessId,
        clock: Clock,
        lock: Path | None = None,
        pane: str | None = None,
        owner: int | None = None,
    ) -> None:
        self.socket = socket
        self.session = session
        self.server = server
        self.last_used = clock.monotonic()
        self._tmux = tmux
        self._clock = clock
        self._lock_path = lock
        self._pane = pane
        self._owner = owner
        self._is_renamed = False
        self._lock_fd: int | None = None
        self._turn = anyio.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._parser = Parser()
        self._farewell = ""
        self._is_unanswered = False

    @property
    def is_open(self) -> bool:
        return self._child is not None

    def is_unused_since(self, moment: float) -> bool:
        """Tell whether the client is open and nobody has used it since then (monotonic seconds)."""
        return self.is_open and self.last_used < moment and not self._turn.locked()

    async def command(self, *words: str, deadline: float = DEADLINE) -> list[str]:
        """Run one command and return the lines it printed.

        Raises TmuxUnknown (no answer in `deadline` seconds), TmuxGone, TmuxRefused, LockHeld.
        """
        blocks = await self.batch([commands.line(*words)], deadline=deadline)
        return [line for block in blocks for line in block.lines]

    async def batch(self, lines: Sequence[str], *, deadline: float = DEADLINE) -> list[Block]:
        """Run command lines in one round trip; one block each, one more for what an `if-shell` ran.

        Raises TmuxUnknown, TmuxGone, TmuxRefused (the first refusal; the others did run), LockHeld.
        """
        try:
            with anyio.fail_after(deadline):
                async with self._turn:
                    blocks = await self._exchange(lines)
        except TimeoutError:
            raise TmuxUnknown(f"tmux on {self.socket} gave no answer in {deadline:g} s") from None
        for block in blocks:
            if not block.ok:
                raise _refusal(" ".join(block.lines))
        return blocks

    async def aclose(self) -> None:
        """End the client and free the lock; the session lives on."""
        async with self._turn:
            await self._drop()

    async def _exchange(self, lines: Sequence[str]) -> list[Block]:
        self.last_used = self._clock.monotonic()
        try:
            if self._child is None:
                await self._open()
            return await self._ask(lines)
        except Garbled as error:
            await self._drop()
            raise TmuxUnknown(f"tmux on {self.socket} answered nonsense: {error}") from error
        except BaseException:
            await self._drop()
            raise
        finally:
            self.last_used = self._clock.monotonic()

    async def _open(self) -> None:
        if not self.server.is_alive():
            raise TmuxGone(f"the tmux server of {self.session} (pid {self.server.pid}) is dead")
        await self._check_responsive()
        await self._restore_socket()
        if self._lock_path is not None and self._lock_fd is None:
            self._lock_fd = await acquire(self._lock_path)
        try:
            await self._attach(self._pane if self._is_renamed else None)
        except TmuxGone:
            if self._pane is None or self._is_renamed or not self.server.is_alive():
                raise
            # Its session has another name by now, or there is none; its pane tells.
            await self._end_child()
            await self._attach(self._pane)
            self._is_renamed = True

    async def _attach(self, pane: str | None) -> None:
        inherit = () if self._lock_fd is None else (self._lock_fd,)
        argv = commands.attach_control(self._tmux, self.socket, self.session, pane)
        self._is_unanswered = True
        self._parser = Parser()
        self._farewell = ""
        with anyio.CancelScope(shield=True):
            try:
                child = await anyio.to_thread.run_sync(lambda: start_piped(argv, env=CLIENT_ENV, inherit=inherit))
            except OSError as error:
                raise TmuxUnknown(f"no client of {self.session} can be started: {error.strerror}") from error
        self._child = child
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)
        if self._lock_fd is not None:
            note(self._lock_fd, child.pid)
        # Commands sent earlier might run before the attach, or in spite of its failure: after that, it ends.
        answered = 0
        while answered < commands.ATTACHING_BLOCKS:
            answered += len(await self._read())
        self._is_unanswered = False

    async def _restore_socket(self) -> None:
        """Have tmux make its socket again where somebody has removed the file: nothing else leads to the session."""
        if self._has_socket():
            return
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        terminate(self.server, signal.SIGUSR1)
        waited = 0.0
        while not self._has_socket() and waited < SOCKET_SECONDS:
            await anyio.sleep(0.005)
            waited += 0.005

    def _has_socket(self) -> bool:
        return os.path.lexists(self.socket)

    async def _check_responsive(self) -> None:
        """Raise TmuxUnknown for a server that hangs, before anything is attached to it.

        Where an earlier client was killed, a plain one, which does no harm, sees to it that the server has noticed.
        """
        pid = self.server.pid
        if is_stopped(pid):
            raise TmuxUnknown(f"the tmux server of {self.session} is stopped; it goes on with: kill -CONT {pid}")
        self._check_socket()
        if not self._is_unanswered:
            return
        argv = commands.client(self._tmux, self.socket, commands.hello())
        try:
            await anyio.to_thread.run_sync(lambda: run(argv, deadline=HELLO_SECONDS, env=CLIENT_ENV))
        except DeadlinePassed as error:
            raise TmuxUnknown(f"the tmux server of {self.session} (pid {pid}) still gives no answer") from error

    def _check_socket(self) -> None:
        """Raise TmuxUnknown where the socket leads to another user by now, who would be told what is pasted.

        It is not connected to for that: a server of tmux up to 3.6 may crash when it loses a client while one attaches.
        """
        try:
            check_socket(self.socket, self._owner)
        except ForeignSocket as error:
            raise TmuxUnknown(str(error)) from error
        except OSError as error:
            raise TmuxUnknown(f"cannot look at {self.socket}: {error.strerror}") from error

    async def _ask(self, lines: Sequence[str]) -> list[Block]:
        token = "end" + secrets.token_hex(6)
        await self._write("".join(f"{line}\n" for line in (*lines, commands.say(token))).encode())
        blocks: list[Block] = []
        while not blocks or blocks[-1].lines != (token,):
            blocks += [block for block in await self._read() if block.asked]
        return blocks[:-1]

    async def _write(self, data: bytes) -> None:
        assert self._child is not None and self._child.stdin is not None
        descriptor = self._child.stdin.fileno()
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                await anyio.wait_writable(descriptor)
            except BrokenPipeError:
                await self._ended()

    async def _read(self) -> list[Block]:
        assert self._child is not None and self._child.stdout is not None
        descriptor = self._child.stdout.fileno()
        while True:
            try:
                data = os.read(descriptor, CHUNK)
                break
            except BlockingIOError:
                await anyio.wait_readable(descriptor)
        if not data:
            await self._ended()
        blocks: list[Block] = []
        for item in self._parser.feed(data):
            if isinstance(item, Exit):
                self._farewell = item.reason or self._farewell
            else:
                blocks.append(item)
                self._farewell = self._farewell if item.ok else " ".join(item.lines)
        return blocks

    async def _ended(self) -> None:
        """The client ended: say whether that is known to be the session's end; always raises."""
        waited = 0.0
        while self.server.is_alive() and waited < DEATH_SECONDS:
            await anyio.sleep(0.005)
            waited += 0.005
        if not self.server.is_alive():
            raise TmuxGone(f"the tmux server of {self.session} (pid {self.server.pid}) died")
        if any(text in self._farewell for text in GONE):
            raise TmuxGone(f"tmux on {self.socket}: {self._farewell}")
        raise TmuxUnknown(f"the control client of {self.session} ended: {self._farewell or 'no reason given'}")

    async def _drop(self) -> None:
        """End the client and free the lock."""
        await self._end_child()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    async def _end_child(self) -> None:
        """Have the client leave by itself, and kill it only when it does not.

        Up to tmux 3.6 a server crashes, and with it the agent, when a control client is lost in its attach (CONTROL
        is set, control_start has not run), and when any client is lost while another one is there. One that sees the
        end of its input leaves after its attach; that its output ends too says that the server has let go of it.
        """
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        with anyio.CancelScope(shield=True):
            child.stdin.close()
            with anyio.move_on_after(ATTACH_SECONDS if self._is_unanswered else LEAVE_SECONDS):
                await _drained(child.stdout.fileno())
                while child.poll() is None:  # noqa: ASYNC110 (a process sets no event)
                    await anyio.sleep(0.001)
            child.stdout.close()
            if child.poll() is None:
                child.kill()
                self._is_unanswered = True
            child.wait()


async def _drained(descriptor: int) -> None:
    """Read to the end, so that nothing that is still to be written holds its writer up."""
    while True:
        try:
            if not os.read(descriptor, CHUNK):
                return
        except BlockingIOError:
            await anyio.wait_readable(descriptor)


def _refusal(text: str) -> PeerwakeError:
    if text.startswith(("can't find pane", "can't find session", "can't find window")):
        return TmuxGone(f"tmux: {text}")
    return TmuxRefused(f"tmux: {text}")
