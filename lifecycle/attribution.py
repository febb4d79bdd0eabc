"""Which session a process belongs to: by its ancestors, whatever it claims."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lifecycle.session import Sessions, SessionUnreadable
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.process import ProcessId, ancestry
from transport.profile import load_profile
from transport.registry import Registry

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


@dataclass(frozen=True, slots=True)
class Attribution:
    """Attributes processes and directories to peers.

    tmux servers are child subreapers on Linux, so whatever a session starts stays below its server
    however it detaches; elsewhere a daemon that leaves its parent escapes (docs/security.md).
    """

    known: Known
    registry: Registry

    def of_process(self, pid: int) -> Identity | None:
        """Return the session that `pid` descends from, None outside every session."""
        servers = {process.pid: (identity, process) for identity, process in self.known()}
        for ancestor in ancestry(pid):
            found = servers.get(ancestor)
            if found is not None and found[1].is_alive():
                return found[0]
        return None

    def of_directory(self, directory: Path) -> Identity | None:
        """Return the default presence of the registered peer that lives in or above `directory`."""
        for place in (directory, *directory.parents):
            if not (place / ".peerwake" / "profile.json").is_file():
                continue
            try:
                profile = load_profile(place)
            except PeerwakeError:
                return None
            known = self.registry.get(profile.name)
            if known is None or known.cwd != place.resolve():
                return None
            return Identity(known.default_runtime, known.name)
        return None
