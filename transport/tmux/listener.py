"""Who listens on a tmux socket, as the kernel tells it: true also of a server that answers nothing."""

import socket as sockets
import struct
import sys
from pathlib import Path
from typing import Final

from transport.process import ProcessId, ProcessUnknown, identify
from transport.tmux.control import TmuxUnknown
from transport.tmux.peer import ForeignSocket, check_socket

UCRED: Final = struct.Struct("3i")
SOL_LOCAL: Final = 0
LOCAL_PEERPID: Final = 0x002


def listener(socket: Path) -> ProcessId | None:
    """Return the process that listens on a socket, None when there is none; raises TmuxUnknown.

    So it does for a socket of another user: no tmux server of ours is there, and yet its place is taken.
    """
    try:
        check_socket(socket)
        with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
            probe.setblocking(False)
            probe.connect(str(socket))
            return identify(_pid(probe))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except ForeignSocket as error:
        raise TmuxUnknown(str(error)) from error
    except (OSError, ProcessUnknown) as error:
        raise TmuxUnknown(f"cannot find out who listens on {socket}: {error}") from error


def answers(socket: Path) -> bool:
    """Say whether a process listens on the socket; a stopped server counts as listening.

    Raises TmuxUnknown when that cannot be found out, and for a socket of another user.
    """
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            check_socket(socket)
            probe.connect(str(socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:
            return True
        except ForeignSocket as error:
            raise TmuxUnknown(str(error)) from error
        except OSError as error:
            raise TmuxUnknown(f"cannot look at {socket}: {error.strerror}") from error
        return True


def _pid(connection: sockets.socket) -> int:
    if sys.platform.startswith("linux"):
        return int(UCRED.unpack(connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, UCRED.size))[0])
    return int(struct.unpack("i", connection.getsockopt(SOL_LOCAL, LOCAL_PEERPID, 4))[0])
