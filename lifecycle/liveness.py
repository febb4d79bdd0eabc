"""Whether a session runs, asked of the files alone: before a peer is removed or renamed."""

from collections.abc import Iterable

from lifecycle.requests import Refused
from lifecycle.session import Sessions
from transport.identity import Identity
from transport.paths import Root
from transport.tmux.listener import listener


class PeerLive(Refused):
    """The peer has a session: the operator stops it first."""

    code = "live"


def find_live(root: Root, identities: Iterable[Identity]) -> Identity | None:
    """Return the first identity that has a session, recorded or not; blocks, raises SessionUnreadable.

    A tmux server that listens counts, whatever the record says.
    """
    sessions = Sessions(root)
    for identity in identities:
        if sessions.live(identity) is not None or listener(root.tmux_socket(identity)) is not None:
            return identity
    return None


def refuse_live(root: Root, identities: Iterable[Identity], instead: str = "") -> None:
    """Raise PeerLive when one of these has a session; `instead` says what else can be done."""
    found = find_live(root, identities)
    if found is not None:
        raise PeerLive(
            f"{found.personality} is live ({found}); nothing was changed."
            f" Stop it first: peerwake stop {found.personality}{instead}"
        )
