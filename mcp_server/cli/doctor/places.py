"""The root: its owner, its modes, the length of its socket paths, its space, its secrets."""

import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mcp_server.cli.doctor.finding import Finding, error, ok, warning
from transport.paths import SOCKET_PATH_BYTES, Root

LOW_BYTES: Final = 200 * 1024 * 1024
OLD_SECONDS: Final = 3600.0
LONGEST_NAME: Final = "r" * 8 + "-" + "p" * 32


def root_directory(root: Root) -> Iterator[Finding]:
    """The directories exist, are ours, are private and can be written."""
    if not os.path.lexists(root.home):
        yield warning("root", f"{root.home} does not exist yet", "peerwake serve --background")
        return
    if not root.home.is_dir():
        yield error("root", f"{root.home} is not a directory", "set PEERWAKE_HOME to a directory you can write")
        return
    damaged = False
    for path in (root.home, root.peers, root.run, root.run / "tmux", root.state, root.logs):
        for finding in _directory(path):
            damaged = True
            yield finding
    if not damaged:
        yield ok("root", str(root.home))


def _directory(path: Path) -> Iterator[Finding]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    except OSError as problem:
        yield error("root", f"{path}: {problem.strerror}", f"ls -ld {shlex.quote(str(path))}")
        return
    shown = shlex.quote(str(path))
    if not stat.S_ISDIR(status.st_mode):
        yield error("root", f"{path} is not a directory", f"move it away: mv {shown} {shown}.away")
    elif status.st_uid != os.geteuid():
        yield error(
            "root", f"{path} belongs to uid {status.st_uid}, not to you", "set PEERWAKE_HOME to your own directory"
        )
    elif status.st_mode & 0o077:
        yield error("root", f"{path} is open to other users ({status.st_mode & 0o777:o})", f"chmod 700 {shown}")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield error("root", f"{path} is not writable", f"chmod u+rwx {shown}")


def socket_paths(root: Root) -> Iterator[Finding]:
    """Every socket path fits into what the system allows."""
    fixed = len(os.fsencode(root.run / "tmux")) + len("/.sock")
    room = SOCKET_PATH_BYTES - fixed
    if room < 18:
        yield error(
            "sockets",
            f"socket paths under {root.run} exceed {SOCKET_PATH_BYTES} bytes",
            "set PEERWAKE_HOME to a shorter path",
        )
    elif room < len(LONGEST_NAME):
        yield warning(
            "sockets",
            f"identities (runtime-name) longer than {room} characters will not fit into a socket path here",
            "set PEERWAKE_HOME to a shorter path, or use short names",
        )
    else:
        yield ok("sockets", "paths are short enough")


def space(root: Root) -> Iterator[Finding]:
    """There is room to write."""
    if not root.home.is_dir():
        return
    free = shutil.disk_usage(root.home).free
    if free < LOW_BYTES:
        yield warning("disk", f"{free >> 20} MiB free under {root.home}", f"free some space; see: du -sh {root.logs}")


def secret_modes(root: Root) -> Iterator[Finding]:
    """Nothing that holds a credential or a message can be read by others."""
    bad = False
    for path in (root.secret, root.config, root.registry, *_files(root.state), *_files(root.run)):
        try:
            status = path.lstat()
        except OSError:
            continue
        shown = shlex.quote(str(path))
        if stat.S_ISLNK(status.st_mode) and path == root.secret:
            bad = True
            yield error("modes", f"{path} is a symbolic link", f"put the file itself there: rm {shown}")
        elif not stat.S_ISLNK(status.st_mode) and status.st_mode & 0o077:
            bad = True
            finding = error if path == root.secret else warning
            yield finding("modes", f"{path} is open to other users ({status.st_mode & 0o777:o})", f"chmod 600 {shown}")
    if not bad and root.home.is_dir():
        yield ok("modes", "files of the root are private")


def logs(root: Root) -> Iterator[Finding]:
    """Log files can be written, and nothing of ours was left half-written."""
    if root.logs.is_dir() and not os.access(root.logs, os.W_OK | os.X_OK):
        yield warning("logs", f"{root.logs} is not writable", f"chmod u+rwx {shlex.quote(str(root.logs))}")
    for path in _files(root.logs):
        if path.suffix == ".log" and not os.access(path, os.W_OK):
            yield warning("logs", f"{path} is not writable", f"chmod u+rw {shlex.quote(str(path))}")
    now = time.time()
    for directory in (root.home, root.state, root.run):
        for path in _files(directory):
            if path.name.startswith(".") and path.suffix == ".tmp" and now - path.lstat().st_mtime > OLD_SECONDS:
                yield warning("leftovers", f"{path} was left half-written", f"rm {shlex.quote(str(path))}")


def _files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if not path.is_dir())
    except OSError:
        return []
