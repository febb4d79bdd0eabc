"""Who connected to a unix socket, as the kernel tells it."""

import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Final

LINUX_UCRED: Final = struct.Struct("3i")
SOL_LOCAL: Final = 0
LOCAL_PEERCRED: Final = 0x001
LOCAL_PEERPID: Final = 0x002
XUCRED: Final = struct.Struct("2Ih16I")


@dataclass(frozen=True, slots=True)
class PeerProcess:
    """The process at the other end; `pid` is None where the kernel does not tell it."""

    uid: int
    pid: int | None

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()


def peer_process(connection: socket.socket) -> PeerProcess:
    """Return the process that connected: SO_PEERCRED on Linux, LOCAL_PEERCRED and LOCAL_PEERPID on macOS.

    Raises OSError when the kernel does not answer.
    """
    if sys.platform.startswith("linux"):
        pid, uid, _ = LINUX_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, LINUX_UCRED.size))
        return PeerProcess(uid, pid if pid > 0 else None)
    credentials = connection.getsockopt(SOL_LOCAL, LOCAL_PEERCRED, XUCRED.size)
    uid = struct.unpack_from("2I", credentials)[1]
    pid = struct.unpack("i", connection.getsockopt(SOL_LOCAL, LOCAL_PEERPID, 4))[0]
    return PeerProcess(uid, pid if pid > 0 else None)
