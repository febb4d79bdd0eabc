"""Where everything lives under one root, and the refusal of roots that cannot work."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transport.errors import PeerwakeError
from transport.home import root_at
from transport.identity import Identity

SOCKET_PATH_BYTES: Final = 100


class RootUnusable(PeerwakeError):
    """The root cannot be used as it is; the user moves or mends it."""

    code = "root-unusable"


@dataclass(frozen=True, slots=True)
class Root:
    """The paths below `PEERWAKE_HOME`; two roots never share a file, a socket or a session."""

    home: Path

    @property
    def config(self) -> Path:
        return self.home / "config.toml"

    @property
    def registry(self) -> Path:
        return self.home / "peers.json"

    @property
    def registry_lock(self) -> Path:
        return self.home / "peers.lock"

    @property
    def secret(self) -> Path:
        return self.home / "secret"

    @property
    def peers(self) -> Path:
        """Working directories of created peers; a peer living elsewhere is a symlink here."""
        return self.home / "peers"

    @property
    def runtimes(self) -> Path:
        return self.home / "runtimes"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def spool(self) -> Path:
        return self.state / "spool.db"

    @property
    def supervisor_lock(self) -> Path:
        return self.state / "supervisor.lock"

    @property
    def server_socket(self) -> Path:
        return self.run / "server.sock"

    @property
    def discovery(self) -> Path:
        return self.run / "server.json"

    def tmux_socket(self, identity: Identity) -> Path:
        return self.run / "tmux" / f"{identity}.sock"

    def flag(self, identity: Identity, name: str) -> Path:
        """A state file of one identity: `session`, `stopped`, `wake.lock`, …"""
        return self.state / f"{identity}.{name}"

    def pane_log(self, identity: Identity) -> Path:
        return self.logs / "panes" / f"{identity}.log"

    def prepare(self) -> None:
        """Create the directories (0700) and refuse a root that cannot work.

        Raises RootUnusable: not writable, owned by somebody else, open to others, or so long
        that a socket path would exceed 100 bytes.
        """
        longest = self.tmux_socket(Identity("r" * 8, "p" * 16))
        if len(os.fsencode(longest)) > SOCKET_PATH_BYTES:
            raise RootUnusable(
                f"{longest} would be longer than {SOCKET_PATH_BYTES} bytes, the limit for a unix socket;"
                " set PEERWAKE_HOME to a shorter path"
            )
        try:
            for path in (self.home, *self._inner()):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise RootUnusable(
                f"cannot create {error.filename}: {error.strerror}; set PEERWAKE_HOME to a directory you can write"
            ) from error
        self.check()

    def _inner(self) -> tuple[Path, ...]:
        return self.peers, self.run, self.run / "tmux", self.state, self.logs, self.logs / "panes"

    def check(self) -> None:
        """Raise RootUnusable unless the root is ours, private and writable."""
        later = (self.run / "prompts", self.state / "canary", self.logs / "server-deaths")
        for path in (*self._inner(), *later):
            if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
                raise RootUnusable(f"{path} is no directory, or a symbolic link to one; put the directory itself there")
        for path in (self.home, self.run, self.state):
            status = path.lstat() if path != self.home else path.stat()
            if status.st_uid != os.geteuid():
                raise RootUnusable(
                    f"{path} belongs to uid {status.st_uid}, not to you; set PEERWAKE_HOME to your own directory"
                )
            if status.st_mode & 0o077:
                raise RootUnusable(f"{path} is open to other users; run: chmod 700 {path}")
            if not os.access(path, os.W_OK | os.X_OK):
                raise RootUnusable(f"{path} is not writable; run: chmod u+rwx {path}")
        for path in (self.peers, self.runtimes, self.run / "tmux", self.logs, self.logs / "panes", *later):
            check_ours(path)

    def check_owner(self) -> None:
        """Raise RootUnusable for a root that somebody else made or may write to, before anything in it is believed."""
        check_ours(self.home)


def check_ours(path: Path) -> None:
    """Raise RootUnusable for a directory that somebody else made or may write to; it need not be there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise RootUnusable(
            f"{path} belongs to uid {status.st_uid} or can be written by others; if you did not expect that, move it"
            f" away, else run: chown {os.geteuid()} {path} && chmod 700 {path}"
        )


def check_socket_path(path: Path) -> None:
    """Raise RootUnusable if `path` is too long to bind."""
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        raise RootUnusable(
            f"{path} is longer than {SOCKET_PATH_BYTES} bytes, the limit for a unix socket;"
            " set PEERWAKE_HOME to a shorter path"
        )


def root_from_environment() -> Root:
    """Return the root that `PEERWAKE_HOME` names, `~/.peerwake` by default; raises HomeUnknown."""
    return Root(Path(root_at(os.environ.get("PEERWAKE_HOME"))))
