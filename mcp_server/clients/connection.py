"""How a peer's client reaches the server, and what is written so that it does: values shared by all clients."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from transport.errors import InvalidInput, PeerwakeError
from transport.files import read_regular, write_atomic

SERVER: Final = "peerwake"
TOOLS: Final = ("send_to_peer", "list_peers", "queue_status")
CREDENTIAL: Final = "PEERWAKE_CREDENTIAL"
HOME: Final = "PEERWAKE_HOME"
PASSED: Final = (CREDENTIAL, HOME, "PEER_IDENTITY", "PEER_PERSONALITY", "PEER_RUNTIME")
NEW_FILE_MODE: Final = 0o644
FILE_BYTES: Final = 16 << 20


class ConfigUnusable(PeerwakeError):
    """A client's configuration cannot be changed safely: it was left as it is, the text says what to mend."""

    code = "client-config"


class GlobalSettings(ConfigUnusable):
    """The file would be the user's global settings; they are changed only when that is asked for."""

    code = "global-settings"


class Transport(StrEnum):
    """How the client speaks to the server."""

    STDIO = "stdio"
    HTTP = "http"
    SSE = "sse"


@dataclass(frozen=True, slots=True)
class Connection:
    """`command` and `args` start the stdio bridge, `url` is where HTTP or SSE is served.

    `home` is written into the configuration where the root is not the default one; the credential
    never is: the client takes it from its environment. Raises InvalidInput for half a connection.
    """

    transport: Transport = Transport.STDIO
    command: str = ""
    args: tuple[str, ...] = ()
    url: str = ""
    home: Path | None = None

    def __post_init__(self) -> None:
        match self.transport:
            case Transport.STDIO if not self.command:
                raise InvalidInput("command", "the stdio transport needs the program that starts the bridge")
            case Transport.HTTP | Transport.SSE if not self.url.startswith(("http://", "https://")):
                raise InvalidInput("url", f"the {self.transport} transport needs an http:// or https:// address")
            case _:
                pass


@dataclass(frozen=True, slots=True)
class Change:
    """A file as it is to be: `what` says in a few words what is ours in it, `old` None when there is none."""

    path: Path
    what: str
    old: bytes | None
    new: bytes

    @property
    def is_needed(self) -> bool:
        return self.old != self.new


def read_config(path: Path) -> bytes | None:
    """Return a configuration file, None when there is none; raises ConfigUnusable."""
    try:
        return read_regular(path, limit=FILE_BYTES)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigUnusable(f"cannot read {path}: {error.strerror}; nothing was changed") from error


def inside(cwd: Path, relative: str, global_files: Sequence[Path], allow_global: bool) -> Path:
    """Return the file of a directory's own configuration, links resolved.

    Raises GlobalSettings when that is one of the user's global files or lies outside the directory
    (a peer that lives in the home directory, a linked `.claude`), unless `allow_global`; ConfigUnusable
    for links that go round in a circle.
    """
    path, here = _resolved(cwd / relative), _resolved(cwd)
    if allow_global:
        return path
    if path in {_resolved(each) for each in global_files}:
        raise GlobalSettings(
            f"{path} is your global configuration, not that of one directory;"
            " let the peer work in a directory of its own, or pass --global"
        )
    if not path.is_relative_to(here):
        raise GlobalSettings(
            f"{cwd / relative} is a link to {path}, outside of {cwd}; replace the link, or pass --global"
        )
    return path


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise ConfigUnusable(f"{path} leads nowhere ({error}); mend or remove it, nothing was changed") from error


def apply(changes: Sequence[Change]) -> list[Change]:
    """Write what is needed, each file atomically, and return what was written.

    Raises ConfigUnusable: that file and those after it were left as they were.
    """
    needed = [change for change in changes if change.is_needed]
    for change in needed:
        _write(change)
    return needed


def _write(change: Change) -> None:
    try:
        change.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        mode = change.path.stat().st_mode & 0o777 if change.old is not None else NEW_FILE_MODE
        write_atomic(change.path, change.new, mode)
    except OSError as error:
        raise ConfigUnusable(f"cannot write {change.path}: {error.strerror}; it was left as it was") from error
