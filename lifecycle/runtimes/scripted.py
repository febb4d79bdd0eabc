"""The bundled terminal agent: for the demo, the tests and the benchmarks."""

import json
from pathlib import Path
from typing import Final

from lifecycle.runtimes.base import REFERENCE, Reader, Runtime, SessionFacts
from lifecycle.runtimes.dialog import Dialog
from lifecycle.runtimes.scripted_records import parse
from transport.files import opened_regular
from transport.screen import ScreenRules

DIRECTORY: Final = Path(".peerwake/runtimes/scripted")
TAIL_BYTES: Final = 512
CLEARS_MAX: Final = 1000
LEFT_MAX: Final = 8


def refer(facts: SessionFacts) -> str | None:
    """Return the id of the conversation that the session is in now: `/clear` starts a new one."""
    found = _conversations(facts)
    return found[-1] if len(found) <= CLEARS_MAX else None


def left(facts: SessionFacts) -> tuple[Path, ...]:
    """Return the transcripts of the last conversations that the session was in before."""
    return tuple(_path(facts, each) for each in _conversations(facts)[-LEFT_MAX - 1 : -1])


def _conversations(facts: SessionFacts) -> list[str]:
    """Return the ids of all conversations of the session, one more than CLEARS_MAX where there is no end of them."""
    found = [facts.session_ref or facts.session_id]
    while len(found) <= CLEARS_MAX and (following := _next(_path(facts, found[-1]))) is not None:
        found.append(following)
    return found


def locate(facts: SessionFacts) -> Path | None:
    """Return the transcript of the conversation that the session is in now, None before its first prompt."""
    reference = refer(facts)
    path = None if reference is None else _path(facts, reference)
    return path if path is not None and path.is_file() else None


def _path(facts: SessionFacts, session_id: str) -> Path:
    return facts.cwd / DIRECTORY / f"{session_id}.jsonl"


def _next(path: Path) -> str | None:
    try:
        with opened_regular(path) as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
        record = json.loads(last)
        following = str(record["next"])
        return following if record["type"] == "cleared" and REFERENCE.fullmatch(following) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


READER: Final = Reader(parse=parse, locate=locate, left=left, refer=refer)

SCRIPTED: Final = Runtime(
    name="scripted",
    argv=("{python}", "-I", "-S", "{agents}/scripted.py", "--session-id", "{session_id}"),
    resume_argv=("{python}", "-I", "-S", "{agents}/scripted.py", "--resume", "{session_ref}"),
    prompt_argv=("--prompt-file", "{prompt_file}"),
    dialogs=(
        Dialog(
            name="trust",
            pattern=r"^ Accessing workspace:",
            choose=r"\bYes, I trust this folder$",
            times=2,
            settle_seconds=0.05,
        ),
    ),
    screen=ScreenRules(
        composer="^»\u00a0(?P<text>.*)$",
        composer_top=r"^─{10,}$",
        composer_end=r"^─{10,}$",
        cursor_in_composer=True,
        footer=1,
        busy=(r"^\S working \(esc to interrupt\)$",),
        busy_above=2,
        asks=(r"^ Esc to cancel$", r"^ Enter to confirm · Esc to (?:exit|cancel)$"),
        collapsed=r"\[Pasted text #\d+(?: \+(?P<lines>\d+) lines)?\]",
        input_shell_mode="^!\u00a0",
    ),
    takes_input_while_busy=True,
    interrupt_keys=("Escape",),
    reset_text="/clear",
    compact_text="/compact",
    reader="scripted",
)
