"""Which session a process belongs to: by its ancestors, whatever it claims."""

import os
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lifecycle.requests import NotAllowed
from lifecycle.session import Sessions, SessionUnreadable
from transport.brand import brand, hard_limit, is_marked
from transport.errors import PeerwakeError
from transport.identity import Identity, parse_identity
from transport.paths import Root
from transport.process import ProcessId, ProcessUnknown, ancestry, identify, parent
from transport.profile import load_profile
from transport.registry import Registry
from transport.tmux.listener import listener

LEFT_OVER: Final = (
    "this process was started in a session that is not there any more, or in one of another root, so it is no operator;"
    " ask from a terminal outside of every session"
)
TRIES: Final = 5
Known = Callable[[], Iterable[tuple[Identity, ProcessId]]]


def recorded(sessions: Sessions) -> list[tuple[Identity, ProcessId]]:
    """Return the tmux servers of all session records; an unreadable record names nobody."""
    found = []
    for identity in sessions.identities():
        try:
            session = sessions.load(identity)
        except SessionUnreadable:
            continue
        if session is not None and session.tmux is not None:
            found.append((identity, session.tmux))
    return found


def listening(root: Root, besides: Collection[Identity] = ()) -> list[tuple[Identity, ProcessId]]:
    """Return the tmux servers that listen below a root, whatever the records say, except those `besides`.

    A session is known by its socket before its record is complete, and also when that is damaged or lost.
    """
    try:
        names = os.listdir(root.run / "tmux")
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        with suppress(PeerwakeError):
            identity = parse_identity(name.removesuffix(".sock"))
            server = None if identity in besides else listener(root.tmux_socket(identity))
            if server is not None:
                found.append((identity, server))
    return found


@dataclass(frozen=True, slots=True)
class Attribution:
    """Attributes processes and directories to peers; `others` is asked about who is not among the known,
    `usual` is the `hard_limit` of processes outside of every session.

    tmux servers are child subreapers on Linux, so whatever a session starts stays below its server
    however it detaches; elsewhere a daemon that leaves its parent escapes (docs/security.md).
    """

    known: Known
    registry: Registry
    others: Known = list
    usual: int | None = None

    def of_process(self, pid: int) -> Identity | None:
        """Return the session that `pid` descends from, None outside every session.

        Raises NotAllowed for a process that is gone: whose it was cannot be told any more.
        """
        line = _line(pid)
        for source in (self.known, self.others):
            servers = {process.pid: (identity, process) for identity, process in source()}
            for ancestor in line:
                found = servers.get(ancestor)
                if found is not None and found[1].is_alive():
                    return found[0]
        return None

    def is_branded(self, pid: int) -> bool:
        """Tell whether a process was started in a session of this root, also in one that has ended (Linux)."""
        return is_marked(hard_limit(pid), brand(self.registry.root.home), self.usual)

    def of_directory(self, directory: Path) -> Identity | None:
        """Return the default presence of the registered peer that lives in or above `directory`."""
        for place in (directory, *directory.parents):
            try:
                if not (place / ".peerwake" / "profile.json").is_file():
                    continue
                profile, place = load_profile(place), place.resolve()
            except PeerwakeError:
                return None
            except (OSError, RuntimeError):
                # Where nobody may look, or no path can lead, there is no peer.
                continue
            known = self.registry.get(profile.name)
            if known is None or known.cwd != place:
                return None
            return Identity(known.default_runtime, known.name)
        return None


def _line(pid: int) -> list[int]:
    """Return a process and all its ancestors; raises NotAllowed when one of them is gone, again and again."""
    if pid == 1:
        return []
    for _ in range(TRIES):
        with suppress(ProcessUnknown):
            line = list(ancestry(pid))
            # A line that was cut short by the end of a process does not reach the top.
            if line and (parent(line[-1]) or 0) <= 1 and identify(line[-1]) is not None:
                return line
    raise NotAllowed("the process that asks has ended, so whose it was cannot be told; ask from one that stays")
