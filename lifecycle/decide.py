"""What the supervisor does about one identity: a pure function of what was seen of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from lifecycle.limits import Limits


class Presence(StrEnum):
    """What there is of a session: `closing` whether or not its processes still run, `unknown` when nobody can tell.

    `starting` is a record without a tmux server. `server-dead`: the tmux server of the record is not
    there any more; `session-gone`: it is, but its agent is dead.
    """

    NONE = "none"
    STARTING = "starting"
    ALIVE = "alive"
    CLOSING = "closing"
    SERVER_DEAD = "server-dead"
    SESSION_GONE = "session-gone"
    UNKNOWN = "unknown"


class Activity(StrEnum):
    """What a live session does. Only `idle` is a proof that it does nothing; `quiet` means that no sign was seen."""

    IDLE = "idle"
    QUIET = "quiet"
    ACTIVE = "active"
    BUSY = "busy"
    BLOCKED = "blocked"
    DRAFT = "draft"
    ATTACHED = "attached"
    UNKNOWN = "unknown"


class Wish(StrEnum):
    """A renewal that is wished for: of the very session that is there, at once or after its turn, or of the next."""

    NONE = "none"
    THIS = "this"
    AFTER_TURN = "after-turn"
    NEXT = "next"


class Action(StrEnum):
    """What is to be done about one identity, exactly one thing at a time."""

    NOTHING = "nothing"
    ADOPT = "adopt"
    BRING_UP = "bring-up"
    BURY = "bury"
    FINISH_CLOSE = "finish-close"
    REAP = "reap"
    RENEW = "renew"
    DRAIN = "drain"
    SETTLE = "settle"
    REPORT_WEDGED = "report-wedged"


@dataclass(frozen=True, slots=True)
class Seen:
    """All that decides about one identity.

    `quiet_since` and `unknown_since` are monotonic seconds. `waiting` counts messages that are not
    settled, `has_lease` tells of one in flight; `is_task` marks the session of an ephemeral worker's task,
    `is_in_the_way` another session of such a worker, for whose end its tasks wait.
    """

    presence: Presence
    is_foreign: bool = False
    is_stopped: bool = False
    is_failed: bool = False
    wish: Wish = Wish.NONE
    is_ready: bool = True
    is_watched: bool = False
    is_task: bool = False
    activity: Activity = Activity.UNKNOWN
    quiet_since: float | None = None
    unknown_since: float | None = None
    is_wedge_reported: bool = False
    waiting: int = 0
    has_lease: bool = False
    is_draining: bool = False
    is_in_the_way: bool = False


def decide(seen: Seen, now: float, limits: Limits) -> Action:
    """Return the one thing to do at monotonic time `now`."""
    if seen.is_foreign:
        return Action.NOTHING
    match seen.presence:
        case Presence.NONE:
            return _without_session(seen)
        case Presence.STARTING:
            return Action.FINISH_CLOSE if seen.is_stopped else Action.ADOPT
        case Presence.CLOSING:
            return Action.FINISH_CLOSE
        case Presence.SERVER_DEAD:
            return Action.RENEW if _may_renew(seen) else Action.BURY
        case Presence.SESSION_GONE:
            # Whoever watches it ends what is left of it, once the exit hook had its time.
            return Action.NOTHING if seen.is_watched else Action.BURY
        case Presence.UNKNOWN:
            # The drain tells the senders; nobody decides anything about a session that cannot be seen.
            return Action.DRAIN if _may_drain(seen) else Action.NOTHING
        case Presence.ALIVE:
            return _with_session(seen, now, limits)
        case _:
            assert_never(seen.presence)


def _without_session(seen: Seen) -> Action:
    if _may_renew(seen):
        return Action.RENEW
    if _may_drain(seen):
        return Action.DRAIN
    return Action.SETTLE if seen.has_lease and not seen.is_draining else Action.NOTHING


def _with_session(seen: Seen, now: float, limits: Limits) -> Action:
    if seen.is_stopped:
        return Action.FINISH_CLOSE
    if _is_to_be_replaced(seen) and _may_renew(seen):
        return Action.RENEW
    if not seen.is_watched:
        return Action.ADOPT
    if _may_drain(seen) or (seen.is_task and not seen.is_draining):
        return Action.DRAIN
    if _may_bring_up(seen):
        return Action.BRING_UP
    if _may_reap(seen, now, limits):
        return Action.REAP
    return Action.REPORT_WEDGED if _is_wedged(seen, now, limits) else Action.NOTHING


def _is_to_be_replaced(seen: Seen) -> bool:
    match seen.wish:
        case Wish.THIS:
            return True
        case Wish.AFTER_TURN:
            return not seen.is_draining and seen.activity in (Activity.IDLE, Activity.QUIET)
        case Wish.NONE | Wish.NEXT:
            return False
        case _:
            assert_never(seen.wish)


def _may_renew(seen: Seen) -> bool:
    return seen.wish is not Wish.NONE and not seen.is_stopped and not seen.is_failed


def _may_drain(seen: Seen) -> bool:
    return seen.waiting > 0 and not seen.is_draining and not seen.is_stopped and not seen.is_failed


def _may_bring_up(seen: Seen) -> bool:
    """Tell whether a client that was blocked while it booted shows its empty input line by now, and nobody saw it."""
    is_free = not (seen.is_ready or seen.is_draining or seen.is_task or seen.is_failed)
    return is_free and seen.activity in (Activity.IDLE, Activity.QUIET)


def _may_reap(seen: Seen, now: float, limits: Limits) -> bool:
    is_unused = seen.is_in_the_way or not (seen.is_draining or seen.waiting)
    is_free = seen.is_ready and not seen.is_task and is_unused
    is_idle = seen.activity is Activity.IDLE and seen.quiet_since is not None
    return is_free and is_idle and now - (seen.quiet_since or 0.0) >= limits.idle_seconds


def _is_wedged(seen: Seen, now: float, limits: Limits) -> bool:
    if seen.activity is not Activity.UNKNOWN or seen.unknown_since is None or seen.is_wedge_reported:
        return False
    patience = limits.wedged_seconds if seen.is_ready else max(limits.wedged_seconds, limits.boot_seconds)
    return now - seen.unknown_since >= patience
