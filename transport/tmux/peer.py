"""Whose the socket of a tmux server is, as its file tells it: nobody is connected to for that."""

import os
import stat
from pathlib import Path

from transport.errors import PeerwakeError


class ForeignSocket(PeerwakeError):
    """Another user's file is in the place of a tmux socket of ours: the operator removes it."""

    code = "foreign-socket"


def check_socket(socket: Path, owner: int | None = None) -> None:
    """Raise ForeignSocket unless a socket is its `owner`'s (a uid, ours by default), or not there.

    A socket belongs to the user who bound it, and nobody else can come to listen on it. A tmux client tells whom it
    connects to its environment, and then whatever is typed. Raises OSError where it cannot be seen whose it is.
    """
    try:
        status = socket.lstat()
    except FileNotFoundError:
        return
    if status.st_uid != (os.geteuid() if owner is None else owner) or stat.S_ISLNK(status.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "another user's"
        raise ForeignSocket(
            f"{socket} is {what} (uid {status.st_uid}), and whoever listens there is told nothing;"
            f" see that nobody else can write to {socket.parent}, then run: rm {socket}"
        )
