"""`peerwake why`: in three lines the state of a peer, since when, and why."""

import os
import time
from datetime import UTC, datetime
from typing import Any

from mcp_server.cli import tables
from mcp_server.cli.commands.queue import age
from mcp_server.cli.context import Context
from mcp_server.cli.control import connect
from mcp_server.cli.exits import Exit
from mcp_server.cli.failures import BadUsage, NoServer, failure
from mcp_server.cli.logfiles import Line, LogReader
from mcp_server.cli.parser import Parser

FLAGGED = {"stopped": "stopped", "failed": "failed"}
BEGINS = ("wake", "adopt", "boot")
ENDS = ("close", "session-gone", "server-dead", "wake-failed", "stop")
SCREEN_LINES = 3
REASON = 300


def parser() -> Parser:
    """Return the command line of `why`."""
    line = Parser("why", "Say in three lines what state a peer is in, since when, and why.")
    line.word("name", "the peer")
    line.add_argument("--runtime", help="this presence (default: the peer's default runtime)")
    line.add_argument("--json", action="store_true", help="print one JSON document")
    return line


def run(context: Context, argv: list[str]) -> int:
    """Print the three lines."""
    given = parser().read(argv)
    context.wants_json = given.json
    peer, queues = known(context, given.name)
    runtime = given.runtime or peer["default_runtime"]
    presence = next((each for each in peer["runtimes"] if each["runtime"] == runtime), None)
    if presence is None:
        declared = ", ".join(each["runtime"] for each in peer["runtimes"])
        raise BadUsage(f"{peer['name']} has no runtime {runtime!r:.40}; it has {declared}")
    identity = f"{runtime}-{peer['name']}"
    lines = [line for line in LogReader(context.home).everything() if line.fields.get("identity") == identity]
    queue = next((row for row in queues if row["identity"] == identity), None)
    found = explain(context, identity, presence, queue, lines)
    if given.json:
        tables.document(context, tables.whose(context) | {"name": peer["name"], "runtime": runtime} | found)
        return Exit.OK
    since = found["since"]
    lasted = f"{since} ({age(max(0.0, time.time() - found['since_at']))})" if since else "unknown"
    context.say(f"state: {tables.escape(identity)} is {tables.paint(context, found['state'])}")
    context.say(f"since: {lasted}")
    context.say(f"why:   {tables.escape('; '.join(found['why']))}")
    return Exit.OK


def known(context: Context, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a peer's row and its queues, from the server or, without one, from the files."""
    try:
        with connect(context) as control:
            return control.call("peer", {"name": name}), control.call("queue", {"personality": name})["rows"]
    except NoServer as absent:
        from mcp_server.cli.offline import Offline

        offline = Offline(context)
        queues = offline.queues(name)
        row = next((peer for peer in offline.peers(name, False) if peer["name"] == name), None)
        if row is None:
            raise failure("unknown-peer", f"there is no peer {name!r:.60}") from None
        context.note(f"{absent}; this is what the files tell")
        return row, queues


def explain(
    context: Context, identity: str, presence: dict[str, Any], queue: dict[str, Any] | None, lines: list[Line]
) -> dict[str, Any]:
    """Return the state, its beginning and its reasons."""
    state = str(presence["state"])
    since = began(context, identity, state, lines)
    death = next((line for line in reversed(lines) if line.log == "exits"), None)
    why = [*reason(state, presence.get("detail"), lines)]
    if death is not None:
        why.append(f"last death {iso(death.at)}: {cause(death)}")
    if queue is not None and queue["depth"]:
        hold = queue["hold"] or ("being handed over" if queue["in_flight"] else "about to be handed over")
        why.append(f"{queue['depth']} waiting ({age(queue['head_age_seconds'])}): {hold}")
    if queue is not None and queue["dead"]:
        why.append(f"{queue['dead']} dead letters, see: peerwake queue {identity.partition('-')[2]}")
    return {
        "identity": identity,
        "state": state,
        "since": None if since is None else iso(since),
        "since_at": since,
        "why": why or ["nothing is wrong and nothing waits"],
        "last_death": None if death is None else death.fields,
        "queue_depth": 0 if queue is None else queue["depth"],
        "hold": None if queue is None else queue["hold"],
    }


def began(context: Context, identity: str, state: str, lines: list[Line]) -> float | None:
    """Return since when a state holds, in wall seconds, None when no record says so."""
    if state in FLAGGED:
        try:
            return os.stat(f"{context.home}/state/{identity}.{FLAGGED[state]}").st_mtime  # noqa: PTH116
        except OSError:
            return None
    events = ENDS if state == "asleep" else BEGINS
    return next(
        (line.at for line in reversed(lines) if line.log == "lifecycle" and line.fields.get("ev") in events), None
    )


def reason(state: str, detail: str | None, lines: list[Line]) -> list[str]:
    """Return what is known of the reason for a state itself."""
    last = next((line for line in reversed(lines) if line.fields.get("ev") in (*BEGINS, *ENDS)), None)
    if state in ("asleep", "booting") and last is not None and last.fields["ev"] == "wake-failed":
        return [_ending(last)]
    match state:
        case "stopped":
            return ["an operator stopped it; peerwake start clears that"]
        case "failed":
            return [f"{detail or 'it died again and again'}; peerwake start clears that"]
        case "blocked":
            shown = [text.strip() for text in (detail or "").splitlines() if text.strip()][-SCREEN_LINES:]
            return [f"its screen says: {' | '.join(shown)[-REASON:]}" if shown else "its screen is not recognised"]
        case "asleep":
            return ["it was never woken; the next message wakes it" if last is None else _ending(last)]
        case _:
            return [detail[-REASON:]] if detail else []


def _ending(line: Line) -> str:
    event = line.fields["ev"]
    if event == "wake-failed":
        return f"its last wake failed: {line.fields.get('reason', '')[:REASON]}"
    words = {"close": "it was closed deliberately", "stop": "it was stopped", "server-dead": "it died unseen"}
    return words.get(event, "its session ended") + "; the next message wakes it"


def cause(line: Line) -> str:
    """Return a death's cause in words."""
    fields = line.fields
    if fields.get("ev") == "server-exit":
        where = fields.get("forensics", "none")
        return f"its tmux server ended by {fields.get('cause')}" + (f", see logs/{where}" if where != "none" else "")
    if fields.get("dead_signal"):
        return f"the client was killed by signal {fields['dead_signal']}"
    if fields.get("dead_status"):
        return f"the client exited with status {fields['dead_status']}"
    return "the client ended, tmux did not say how"


def iso(wall: float) -> str:
    """Return wall seconds as local time to the second."""
    return datetime.fromtimestamp(wall, UTC).astimezone().isoformat(timespec="seconds")
