"""The files a prompt is made of: bounded, ours alone, and never a reason for a wake to fail."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lifecycle.prompt.layers import Flaw
from transport.files import read_regular
from transport.message import CONTROLS, LINE_ENDS
from transport.paths import Root

FILE_BYTES: Final = 48_000
FILES_MAX: Final = 100
SUFFIX: Final = ".md"
HOST_DOCTRINE: Final = "PEERS.md"
PEER_DOCTRINE: Final = "PEER.md"
FRAGMENTS: Final = "fragments"


@dataclass(frozen=True, slots=True)
class Source:
    """A file that may be part of a prompt; `follows` tells whether it may be a symbolic link."""

    path: Path
    follows: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where doctrine is kept: the host's root, whose owner may use links, or a peer's directory.

    An agent that is locked into its directory can write there: a link would have us read for it what
    it cannot read itself.
    """

    directory: Path
    doctrine: str
    follows: bool

    def main(self) -> list[Source]:
        """Return the doctrine file, if there is one."""
        path = self.directory / self.doctrine
        return [Source(path, self.follows)] if os.path.lexists(path) else []

    def others(self) -> tuple[list[Source], list[Flaw]]:
        """Return the other `*.md`, by name."""
        return _list(self.directory, self.follows, self.doctrine)

    def fragments(self) -> tuple[list[Source], list[Flaw]]:
        """Return the `*.md` below `fragments/`, by name."""
        directory = self.directory / FRAGMENTS
        if not self.follows and directory.is_symlink():
            return [], [Flaw(directory, "it is a symbolic link; put the directory itself there")]
        return _list(directory, self.follows)


def places(root: Root, cwd: Path) -> tuple[Place, Place]:
    """Return where a peer's doctrine is kept, the general place first."""
    return Place(root.home, HOST_DOCTRINE, follows=True), Place(cwd / ".peerwake", PEER_DOCTRINE, follows=False)


def _list(directory: Path, follows: bool, but: str = "") -> tuple[list[Source], list[Flaw]]:
    try:
        names = sorted(name for name in os.listdir(directory) if _is_meant(name) and name != but)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Flaw(directory, f"it cannot be read: {error.strerror}")]
    kept = [Source(directory / name, follows) for name in names[:FILES_MAX]]
    over = len(names) - FILES_MAX
    return kept, [Flaw(directory, f"{over} files are over the limit of {FILES_MAX}; join some")] if over > 0 else []


def _is_meant(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def read(source: Source) -> tuple[str, Flaw | None]:
    """Return a file's text, empty when it cannot be used, and what is wrong with it."""
    path = source.path
    try:
        data, status = read_regular(path, follow=source.follows, limit=FILE_BYTES)
    except FileNotFoundError:
        return "", Flaw(path, "it is a link to nothing; mend or remove it") if path.is_symlink() else None
    except OSError as error:
        return "", Flaw(path, _problem(error))
    if status.st_uid not in (os.geteuid(), 0):
        return "", Flaw(path, f"it belongs to uid {status.st_uid}; it must be yours")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return "", Flaw(path, f"others can write it; run: chmod go-w {path}")
    try:
        return clean(data.decode("utf-8-sig")), None
    except UnicodeDecodeError as error:
        problem = f"byte {error.start} is not UTF-8 and is shown as \ufffd; save it as UTF-8"
        return clean(data.decode("utf-8-sig", "replace")), Flaw(path, problem)


def _problem(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.EMLINK):
        return "it is a symbolic link; put the file itself there"
    if error.errno == errno.EFBIG:
        return f"{error.strerror}; shorten it"
    return f"it cannot be read: {error.strerror}"


def clean(text: str) -> str:
    """Return text with LF line ends and no control characters, without blank lines around it."""
    return CONTROLS.sub("", LINE_ENDS.sub("\n", text)).strip("\n").rstrip()
