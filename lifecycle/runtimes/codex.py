"""Codex: how it is started, what its screen and its rollout say.

Measured with 0.169.0; the captures are in tests/screens/codex. While it works, a prompt cuts the answer
short that is being written (it steers) or lies in a queue that leaves no trace, so none is given then.
"""

import json
import os
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from lifecycle.runtimes.base import PROMPT_PARTS, Reader, Runtime, SessionFacts
from lifecycle.runtimes.codex_hooks import PART_BYTES, prompt_words
from lifecycle.runtimes.codex_records import parse
from lifecycle.runtimes.dialog import Dialog
from transport.files import opened_regular
from transport.screen import ScreenRules
from transport.vocabulary import ScreenState

ROLLOUT: Final = re.compile(r"rollout-.+-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl")
LOCK: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.lock")
META_BYTES: Final = 1 << 20
EARLY_SECONDS: Final = 2.0
DESCENDANTS_MAX: Final = 64
TAIL_BYTES: Final = 64 * 1024
FRESH_SECONDS: Final = 2.0
OPENING_SECONDS: Final = 0.35
OPEN_ELSEWHERE: Final = r"^ *\S+ +This conversation is open in another app\b[\s\S]*^ +r retry +f fork\b[^\n]*\s*\Z"
LOCKS: Final = "thread-writer-locks"
TURN_BEGINS: Final = (b'"type":"task_started"',)
TURN_ENDS: Final = (b'"type":"task_complete"', b'"type":"turn_aborted"')


def home_directory(facts: SessionFacts) -> Path:
    """Return where the client keeps its state: `CODEX_HOME`, else `~/.codex`."""
    chosen = facts.env.get("CODEX_HOME")
    return Path(chosen) if chosen else Path(facts.env.get("HOME") or Path.home()) / ".codex"


def locate(facts: SessionFacts) -> Path | None:
    """Return the rollout of the conversation that the session is in now, None before its first prompt.

    It is the one whose files the session's processes hold open. Where that cannot be seen: the newest of
    the one that is resumed and those of this directory that were begun since the session was woken.
    """
    return _rollout(facts, _open_files(facts.pane_pid))


def left(facts: SessionFacts) -> tuple[Path, ...]:
    """Return the rollouts that the session's processes hold, but those of sub-agents: one that was left stays open."""
    held = _open_files(facts.pane_pid)
    return tuple(path for path in held if ROLLOUT.fullmatch(path.name) and not _is_agent(path))


def _rollout(facts: SessionFacts, held: Collection[Path]) -> Path | None:
    sessions = home_directory(facts) / "sessions"
    current = _current(held)
    if current is not None:
        mine = [path for path in held if path.name.endswith(f"-{current}.jsonl")]
        return _newest(mine or _stored(sessions, current))
    begun: Iterable[Path] = ()
    if facts.pane_pid is not None or facts.session_ref is None:
        begun = (path for path in _begun_since(sessions, facts.woke_at) if _belongs(path, facts))
    return _newest((*_stored(sessions, facts.session_ref), *begun))


def _current(held: Iterable[Path]) -> str | None:
    """Return the conversation whose file changed last: `/new` takes a lock before there is a rollout.

    One that was left stays held, and those of sub-agents are held too, which no person talks to.
    """
    times: dict[str, float] = {}
    for path in held:
        found = ROLLOUT.fullmatch(path.name) or LOCK.fullmatch(path.name)
        if found is not None:
            times[found[1]] = max(times.get(found[1], 0.0), _changed(path) or 0.0)
    if len(times) > 1:
        for path in held:
            found = ROLLOUT.fullmatch(path.name)
            if found is not None and _is_agent(path):
                times.pop(found[1], None)
    return max(times, key=lambda name: times[name], default=None)


def _stored(sessions: Path, reference: str | None) -> Iterable[Path]:
    if reference is None or not re.fullmatch(r"[0-9a-f-]{36}", reference):
        return ()
    return sessions.glob(f"*/*/*/rollout-*-{reference}.jsonl")


def refer(facts: SessionFacts) -> str | None:
    """Return the id of the conversation that the session is in now or was last, None where that cannot be seen."""
    held = _open_files(facts.pane_pid)
    path = _rollout(facts, held)
    found = ROLLOUT.fullmatch(path.name) if path else None
    return found[1] if found else _current(held) or facts.session_ref


def _newest(paths: Iterable[Path]) -> Path | None:
    times = [(changed, path) for path in paths if (changed := _changed(path)) is not None]
    return max(times)[1] if times else None


def _changed(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _open_files(pid: int | None) -> list[Path]:
    """Return the rollouts and locks that the processes from `pid` downwards hold open (Linux; none elsewhere)."""
    found: list[Path] = []
    if pid is None or not sys.platform.startswith("linux"):
        return found
    queue = [pid]
    for current in queue:
        queue += _children(current)[: DESCENDANTS_MAX - len(queue)]
        for name in _names(f"/proc/{current}/fd"):
            try:
                target = os.readlink(f"/proc/{current}/fd/{name}")  # noqa: PTH115 (some hundred for each question)
            except OSError:
                continue
            if "/rollout-" in target or f"/{LOCKS}/" in target:
                found.append(Path(target))
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in _names(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb", 0) as file:  # noqa: PTH123
                found += map(int, file.read().split())
        except (OSError, ValueError):
            continue
    return found


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _begun_since(sessions: Path, woke_at: float) -> Iterator[Path]:
    """Yield the rollouts of the days since then; their directories are named by the local date."""
    day = datetime.fromtimestamp(woke_at).date() - timedelta(days=1)
    last = datetime.now().date() + timedelta(days=1)
    while day <= last:
        yield from (sessions / f"{day:%Y/%m/%d}").glob("rollout-*.jsonl")
        day += timedelta(days=1)


def _meta(path: Path) -> dict[str, Any]:
    """Return what a rollout says of its conversation; raises OSError, ValueError, KeyError or TypeError."""
    with opened_regular(path) as file:
        meta: dict[str, Any] = json.loads(file.readline(META_BYTES))["payload"]
    return meta


def _is_agent(path: Path) -> bool:
    """Tell whether a rollout is that of a sub-agent."""
    try:
        return _meta(path).get("thread_source") not in (None, "user")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _belongs(path: Path, facts: SessionFacts) -> bool:
    try:
        meta = _meta(path)
        begun = datetime.fromisoformat(meta["timestamp"])
        same = os.path.realpath(meta["cwd"]) == os.path.realpath(facts.cwd)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    begun = begun if begun.tzinfo else begun.replace(tzinfo=UTC)
    return same and not _is_agent(path) and begun.timestamp() >= facts.woke_at - EARLY_SECONDS


def status(facts: SessionFacts) -> ScreenState:
    """Return `busy` in the first moments of a conversation and of a turn, before the screen shows it.

    A message handed over there would go without the tools of servers that are about to start, or cut
    short the answer to the one before it.
    """
    held = _open_files(facts.pane_pid)
    path = _rollout(facts, held)
    moments = ((_conversation_begun(held), OPENING_SECONDS), (_turn_begun(path) if path else None, FRESH_SECONDS))
    now = time.time()
    is_fresh = any(begun is not None and 0 <= now - begun < seconds for begun, seconds in moments)
    return ScreenState.BUSY if is_fresh else ScreenState.READY


def _conversation_begun(held: Iterable[Path]) -> float | None:
    """Return when the client took the lock of its conversation (wall seconds), None when that cannot be seen."""
    locks = (path for path in held if path.parent.name == LOCKS and not path.name.startswith("."))
    return max(filter(None, map(_changed, locks)), default=None)


def _turn_begun(path: Path) -> float | None:
    """Return when the turn that is under way began (wall seconds), None when none is or it began long ago."""
    try:
        with opened_regular(path) as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            tail = file.read()
    except OSError:
        return None
    start, end = (max(map(tail.rfind, marks)) for marks in (TURN_BEGINS, TURN_ENDS))
    if start <= end:
        return None
    try:
        line = tail[tail.rfind(b"\n", 0, start) + 1 :].partition(b"\n")[0]
        return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


READER: Final = Reader(parse=parse, locate=locate, left=left, refer=refer, status=status)

SCREEN: Final = ScreenRules(
    composer=r"^(?=[›!])(?:› ?)?(?P<text>.*)$",
    composer_end=r"^  [^\s·][^·]* · [~/]\S*|^  (?:Press )?(?:enter|esc)\b|^ +⚠ \d+ warnings? · ",
    faint_is_ghost=True,
    cursor_in_composer=True,
    footer=4,
    ready=(r"^  [^\s·][^·]* · [~/]\S*",),
    busy=(r"^[•◦] .*\besc to interrupt\)",),
    busy_title=("^[\u2801-\u28ff] ",),
    busy_above=6,
    asks=(
        r"^  Would you like to ",
        r"^  Allow the .+ MCP server to ",
        r"^  Trust this folder\?",
        r"^  (?:Press )?enter to (?:confirm|submit|continue)\b",
    ),
    asks_title=(r"^\[ . \] Action Required",),
    collapsed=r"\[Pasted Content (?P<chars>\d+) chars\](?: #\d+)?",
    scroll_mark=r"\s[↑↓]$",
)

CODEX: Final = Runtime(
    name="codex",
    install="npm install -g @openai/codex, then run `codex` once to log in",
    verified=("0.169.0",),
    argv=("codex", "--no-daemon"),
    # Named, the directory is not asked for where the conversation was begun in another.
    resume_argv=("codex", "resume", "--no-daemon", "-C", "{cwd}", "{session_ref}"),
    prompt_argv=prompt_words(),
    prompt_held_argv=prompt_words("startup|clear|compact"),
    prompt_part_bytes=PART_BYTES,
    env_pass=("OPENAI_*", "CODEX_HOME", "CODEX_API_KEY", "AZURE_*", "RUST_LOG"),
    dialogs=(
        Dialog(
            name="trust",
            pattern=r"^ *Trust this folder\?",
            choose=r"^[› ] \d\. Trust and continue$",
            times=2,
        ),
        # Ours alone, by their number, in a version that hashes them otherwise: it starts without its prompt.
        Dialog(
            name="prompt-hooks",
            pattern=rf"^ *{PROMPT_PARTS} hooks are new or changed\.",
            choose=r"^[› ] \d\. Continue without trusting\b",
        ),
        # The one who held it may be our own session that has just ended: ask again, once.
        Dialog(name="open-elsewhere", pattern=OPEN_ELSEWHERE, keys=("r",)),
    ),
    refusals=(OPEN_ELSEWHERE,),
    mcp_files=(".codex/config.toml",),
    screen=SCREEN,
    takes_input_while_busy=False,
    interrupt_keys=("Escape",),
    reset_text="/new",
    compact_text="/compact",
    reader="codex",
)
