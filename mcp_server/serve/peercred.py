"""Who connected to a unix socket, as the kernel tells it."""

import errno
import os
import select
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Final

from transport.process import DeadlinePassed, start_time

LINUX_UCRED: Final = struct.Struct("3i")
SO_PEERPIDFD: Final = 77
SOL_LOCAL: Final = 0
LOCAL_PEERCRED: Final = 0x001
LOCAL_PEERPID: Final = 0x002
XUCRED: Final = struct.Struct("2Ih16I")


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """The process at the other end; `pid` is None where it cannot be told, `started` is its start time."""

    uid: int
    pid: int | None
    started: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    @property
    def is_there(self) -> bool:
        """Whether this very process still lives: only then is what is known of its pid known of it."""
        if self.pid is None:
            return False
        now = _started(self.pid)
        return now is not None and self.started in (None, now)


def peer_process(connection: socket.socket) -> PeerProcess:
    """Return the process that connected: SO_PEERCRED on Linux, LOCAL_PEERCRED and LOCAL_PEERPID on macOS.

    A process that has ended since has no pid: its number may be another's by now. Raises OSError when
    the kernel does not answer.
    """
    uid, pid = _credentials(connection)
    started = _started(pid) if pid > 0 else None
    if started is None or _has_ended(connection):
        return PeerProcess(uid, None)
    return PeerProcess(uid, pid, started)


def _started(pid: int) -> str | None:
    """Return when a process started; one that nobody can look at is as one that is gone: it proves nothing."""
    try:
        return start_time(pid)
    except DeadlinePassed:
        return None


def _credentials(connection: socket.socket) -> tuple[int, int]:
    if sys.platform.startswith("linux"):
        answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, LINUX_UCRED.size)
        pid, uid, _ = LINUX_UCRED.unpack(answer)
    else:
        uid = struct.unpack_from("2I", connection.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED.size))[1]
        pid = struct.unpack("i", connection.getsockopt(SOL_LOCAL, LOCAL_PEERPID, 4))[0]
    return uid, pid


def _has_ended(connection: socket.socket) -> bool:
    """Whether the process that connected is gone, where the kernel can tell (Linux 6.5 and later)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        pidfd = connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError as error:
        return error.errno == errno.ESRCH
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(0))
    finally:
        os.close(pidfd)
