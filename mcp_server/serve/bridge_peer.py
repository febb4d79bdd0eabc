"""Reaching who listens on a unix socket, and who that is: for the bridge and the command, standard library only."""

import _socket
import sys

# Either answer has the uid at the same place: struct ucred of Linux, struct xucred of macOS.
PEER_CREDENTIALS = (_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12) if sys.platform == "linux" else (0, 1, 76)


def server_uid(connection: _socket.socket) -> int:
    """Return the uid of who listens, as the kernel tells it. Raises OSError."""
    return int.from_bytes(connection.getsockopt(*PEER_CREDENTIALS)[4:8], sys.byteorder)


def wait_for_room(connection: _socket.socket, seconds: float) -> None:
    """Let `connect` of a blocking socket wait so long where the server's backlog is full.

    With a timeout of Python's it fails at once, with EAGAIN.
    """
    timeval = b"".join(int(part).to_bytes(8, sys.byteorder) for part in (seconds, seconds % 1 * 1e6))
    connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, timeval)
