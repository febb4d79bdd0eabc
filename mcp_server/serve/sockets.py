"""Listening sockets: one unix socket that replaces only a dead one, and TCP on loopback."""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mcp_server.serve.options import AddressInUse, ServeOptions, ServerRunning
from transport.errors import PeerwakeError
from transport.files import replace
from transport.paths import check_socket_path

BACKLOG: Final = 4096
PROBE_SECONDS: Final = 1.0


class CannotListen(PeerwakeError):
    """The operating system refuses the address; the user corrects it."""

    code = "cannot-listen"


@dataclass(frozen=True, slots=True)
class UnixListener:
    """A listening unix socket and the file that leads to it."""

    socket: socket.socket
    path: Path
    inode: int

    def is_reached(self) -> bool:
        """Tell whether the file is still there and still leads here."""
        try:
            status = self.path.lstat()
        except OSError:
            return False
        return stat.S_ISSOCK(status.st_mode) and status.st_ino == self.inode


@contextmanager
def unix_listener(path: Path) -> Iterator[UnixListener]:
    """Listen on `path` (0600) while the block runs; a socket nobody answers on is replaced atomically.

    Raises ServerRunning when somebody answers, CannotListen, or RootUnusable for a path that is too long.
    """
    check_socket_path(path)
    inode: int | None = None
    listener: socket.socket | None = None
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _alone(path):
            if _is_answered(path):
                raise ServerRunning(f"a server already answers on {path}; stop it first")
            inode = _bind(listener, path)
        yield UnixListener(listener, path, inode)
    except OSError as error:
        if inode is not None:
            raise
        raise CannotListen(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        if listener is not None:
            listener.close()
        if inode is not None:
            _remove(path, inode)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep two servers that start at once from taking each other's fresh socket for a dead one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_answered(path: Path) -> bool:
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(PROBE_SECONDS)
    try:
        probe.connect(os.fspath(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        # A full backlog or a stopped server: somebody is there.
        return error.errno != errno.ENOTSOCK
    else:
        return True
    finally:
        probe.close()


def _bind(listener: socket.socket, path: Path) -> int:
    aside = path.with_name(f".{os.getpid()}.s")
    aside.unlink(missing_ok=True)
    listener.bind(os.fspath(aside))
    try:
        aside.chmod(0o600)
        listener.listen(BACKLOG)
        inode = aside.stat().st_ino
        replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    listener.setblocking(False)
    return inode


def _remove(path: Path, inode: int) -> None:
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return


@contextmanager
def tcp_listener(options: ServeOptions) -> Iterator[socket.socket | None]:
    """Listen on the host and port of `options` while the block runs; None when they have no port.

    Raises NotLoopback, AddressInUse or CannotListen.
    """
    if options.port is None:
        yield None
        return
    options.check()
    listener = _tcp_socket(options.host, options.port)
    try:
        yield listener
    finally:
        listener.close()


def _tcp_socket(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host}: {error.strerror or error}; give an address") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(
                f"port {port} of {host} is taken by another program; choose another with --port or the setting port"
            ) from error
        raise CannotListen(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    listener.setblocking(False)
    return listener


def http_address(listener: socket.socket) -> str:
    """Return the base URL of a TCP listener."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
