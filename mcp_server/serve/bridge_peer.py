"""Who listens at the other end of a unix connection: for the bridge and the command, standard library only."""

import _socket
import sys

# Either answer has the uid at the same place: struct ucred of Linux, struct xucred of macOS.
PEER_CREDENTIALS = (_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12) if sys.platform == "linux" else (0, 1, 76)


def server_uid(connection: _socket.socket) -> int:
    """Return the uid of who listens, as the kernel tells it. Raises OSError."""
    return int.from_bytes(connection.getsockopt(*PEER_CREDENTIALS)[4:8], sys.byteorder)
