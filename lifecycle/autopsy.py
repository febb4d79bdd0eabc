"""What `exits.log` says of a death: its class and its cause, each from the evidence that was written down."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from transport.identity import Identity
from transport.logline import fields_of
from transport.process import ProcessId

TAIL_BYTES: Final = 1 << 18

Body = tuple[Identity, ProcessId]
"""Who died: the identity, and its tmux server."""


class DeathClass(StrEnum):
    """`server-dead`: the tmux server itself died. `session-gone`: the client ended, its server lived."""

    SERVER_DEAD = "server-dead"
    SESSION_GONE = "session-gone"


CLASSES: Final = {"server-exit": DeathClass.SERVER_DEAD, "session-exit": DeathClass.SESSION_GONE}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The class of one death and its cause in words; `is_clean` tells of a client that exited with status 0."""

    kind: DeathClass
    reason: str
    is_clean: bool = False


def class_of(fields: Mapping[str, str]) -> DeathClass | None:
    """Return the class that a line of exits.log tells of, None for another line."""
    return CLASSES.get(fields.get("ev", ""))


def cause_in_words(fields: Mapping[str, str]) -> str:
    """Return what a line of exits.log says of the cause, for people."""
    if class_of(fields) is DeathClass.SERVER_DEAD:
        return f"its tmux server ended by {fields.get('cause', 'unknown')}"
    signal, status, kills = fields.get("dead_signal"), fields.get("dead_status"), fields.get("oom_kills")
    if signal:
        cause = fields.get("cause", "")
        named = f" ({cause})" if cause.startswith("SIG") else ""
        more = f"; out of memory: the kernel has killed {kills} in its cgroup" if kills else ""
        return f"the client was killed by signal {signal}{named}{more}"
    return f"the client exited with status {status}" if status else "the client ended, nobody could say how"


def verdicts(log: Path, dead: Collection[Body]) -> dict[Body, Verdict]:
    """Return what the end of a log says of these deaths; blocking.

    A pid comes again. Where a line does not tell when its server was started, as what an older version set up
    writes it, the pid has to do.
    """
    found: dict[Body, Verdict] = {}
    wanted: dict[tuple[str, str], list[Body]] = {}
    for identity, tmux in dead:
        wanted.setdefault((str(identity), str(tmux.pid)), []).append((identity, tmux))
    for line in _tail(log):
        fields = fields_of(line)
        kind, started = class_of(fields), fields.get("server_started")
        for body in wanted.get((fields.get("identity", ""), fields.get("server_pid", "")), ()):
            if kind is not None and started in (None, "", body[1].started):
                is_clean = kind is DeathClass.SESSION_GONE and fields.get("dead_status") == "0"
                found[body] = Verdict(kind, cause_in_words(fields), is_clean)
    return found


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return []
