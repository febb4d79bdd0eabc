"""What the logs and the queue tell of one presence: since when it is as it is, and why."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from lifecycle.autopsy import cause_in_words, class_of
from mcp_server.cli.ages import age
from mcp_server.cli.logfiles import Line

FLAGGED: Final = {"stopped": "stopped", "failed": "failed"}
STARTS: Final = ("wake", "adopt")
ENDS: Final = ("close", "session-gone", "server-dead", "wake-failed", "stop", "session-exit", "server-exit")
CLOSED: Final[Mapping[str, str]] = {
    "idle": "it was closed because it was idle",
    "stopped": "it was stopped",
    "new": "it was closed to be started anew",
    "self": "it said itself that it was done",
    "task": "its task was over",
    "removed": "it was removed",
}
NEXT: Final = "the next message wakes it"
SCREEN_LINES: Final = 3
REASON: Final = 300


def explain(
    home: str, identity: str, presence: Mapping[str, Any], queue: Mapping[str, Any] | None, lines: Sequence[Line]
) -> dict[str, Any]:
    """Return the state, its beginning and its reasons; `lines` are those of this identity, in the order of time."""
    state = str(presence["state"])
    since = began(home, identity, state, lines)
    death = next((line for line in reversed(lines) if class_of(line.fields) is not None), None)
    why = [*reason(state, presence.get("detail"), lines)]
    if death is not None:
        why.append(f"last death {iso(death.at)}, {class_of(death.fields)}: {cause(death)}")
    why += _held(identity, queue)
    return {
        "identity": identity,
        "state": state,
        "since": None if since is None else iso(since),
        "since_at": since,
        "why": why or ["nothing is wrong and nothing waits"],
        "last_death": None if death is None else {**death.fields, "class": class_of(death.fields)},
        "queue_depth": 0 if queue is None else queue["depth"],
        "hold": None if queue is None else queue["hold"],
    }


def _held(identity: str, queue: Mapping[str, Any] | None) -> list[str]:
    if queue is None:
        return []
    found = []
    if queue["depth"]:
        hold = queue["hold"] or ("being handed over" if queue["in_flight"] else "about to be handed over")
        found.append(f"{queue['depth']} waiting ({age(queue['head_age_seconds'])}): {hold}")
    if queue["dead"]:
        many = "dead letter" if queue["dead"] == 1 else "dead letters"
        found.append(f"{queue['dead']} {many}, see: peerwake queue {identity.partition('-')[2]} --dead")
    return found


def began(home: str, identity: str, state: str, lines: Sequence[Line]) -> float | None:
    """Return since when a state holds, in wall seconds, None when no record says so."""
    match state:
        case "stopped" | "failed":
            try:
                return os.stat(f"{home}/state/{identity}.{FLAGGED[state]}").st_mtime  # noqa: PTH116
            except OSError:
                return None
        case "asleep":
            return _last(lines, *ENDS)
        case "booting":
            return _last(lines, "wake")
        case "blocked":
            start = _last(lines, *STARTS) or 0.0
            seen = [_last(lines, "wedged"), *(line.at for line in lines[-1:] if line.fields.get("end") == "blocked")]
            return max((at for at in seen if at is not None and at >= start), default=start or None)
        case "busy":
            return max((at for at in (_last(lines, "consumed"), _up(lines)) if at is not None), default=None)
        case _:
            return _up(lines)


def _up(lines: Sequence[Line]) -> float | None:
    """Return when the session came up: its boot, or its start where no boot is recorded; an adoption is neither."""
    return _last(lines, "boot", "wake") or _last(lines, "adopt")


def _last(lines: Sequence[Line], *events: str) -> float | None:
    return next((line.at for line in reversed(lines) if line.fields.get("ev") in events), None)


def reason(state: str, detail: str | None, lines: Sequence[Line]) -> list[str]:
    """Return what is known of the reason for a state itself."""
    last = next((line for line in reversed(lines) if line.fields.get("ev") in (*STARTS, "boot", *ENDS)), None)
    if state in ("asleep", "booting") and last is not None and last.fields["ev"] == "wake-failed":
        return [f"its last wake failed: {last.fields.get('reason', '')[:REASON]}"]
    match state:
        case "stopped":
            return ["an operator stopped it; peerwake start clears that"]
        case "failed":
            return [f"{detail or 'it died again and again'}; peerwake start clears that"]
        case "blocked":
            if detail and _is_wedged(lines):
                return [detail[-REASON:]]
            shown = [text.strip() for text in (detail or "").splitlines() if text.strip()][-SCREEN_LINES:]
            return [f"its screen says: {' | '.join(shown)[-REASON:]}" if shown else "its screen is not recognised"]
        case "asleep":
            return [f"{_ending(last)}; {NEXT}"]
        case "booting":
            return [f"its client is coming up{f': {detail[-REASON:]}' if detail else ''}"]
        case "busy":
            return [detail[-REASON:] if detail else "it works"]
        case _:
            return [detail[-REASON:]] if detail else []


def _is_wedged(lines: Sequence[Line]) -> bool:
    """Tell whether nobody gets an answer of the session: then nothing is known of its screen."""
    last = next((line for line in reversed(lines) if line.fields.get("ev") in (*STARTS, "wedged", "recovered")), None)
    return last is not None and last.fields["ev"] == "wedged"


def _ending(line: Line | None) -> str:
    """Return how the last session ended, in words."""
    if line is None:
        return "it was never woken"
    match line.fields["ev"]:
        case "close":
            return CLOSED.get(line.fields.get("why", ""), "it was closed deliberately")
        case "stop":
            return CLOSED["stopped"]
        case "session-exit" | "session-gone":
            return "its client ended"
        case "server-exit" | "server-dead":
            return "its tmux server died"
        case _:
            return "its session ended"


def cause(line: Line) -> str:
    """Return a death's cause in words, and where its snapshot is."""
    where = line.fields.get("forensics", "none")
    return cause_in_words(line.fields) + (f", see logs/{where}" if where != "none" else "")


def iso(wall: float) -> str:
    """Return wall seconds as local time to the second."""
    return datetime.fromtimestamp(wall, UTC).astimezone().isoformat(timespec="seconds")
