"""What there is of a session, and which renewal is wished for: pure functions of what was read."""

from collections.abc import Callable

from lifecycle.decide import Presence, Wish
from lifecycle.renewal import Renewal
from lifecycle.session import Session
from transport.process import ProcessId


def presence_of(session: Session | None, is_alive: Callable[[ProcessId], bool]) -> Presence:
    """Return what there is of a session by its record, where `is_alive` tells of exactly this process."""
    if session is None:
        return Presence.NONE
    if session.is_closing:
        return Presence.CLOSING
    if session.tmux is None:
        return Presence.STARTING
    if not is_alive(session.tmux):
        return Presence.SERVER_DEAD
    is_gone = session.pane is not None and not is_alive(session.pane)
    return Presence.SESSION_GONE if is_gone else Presence.ALIVE


def wish_of(renewal: Renewal | None, session: Session | None) -> Wish:
    """Return for which session a renewal is wished: the one that is there, or the next."""
    if renewal is None:
        return Wish.NONE
    if session is None or renewal.replaces != session.fence:
        return Wish.NEXT
    return Wish.AFTER_TURN if renewal.at_turn_end else Wish.THIS
