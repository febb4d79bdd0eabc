"""Claude Code: how it is started, what its screen and its status file say.

Measured with 2.1.328 and 2.1.197; the captures are in tests/screens/claude.
"""

import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from lifecycle.runtimes.base import REFERENCE, Reader, Runtime, SessionFacts
from lifecycle.runtimes.claude_records import parse
from lifecycle.runtimes.dialog import Dialog
from transport.files import opened_regular
from transport.process import ProcessUnknown, start_time
from transport.screen import ScreenRules
from transport.vocabulary import ScreenState

PICTURES: Final = "|".join(r"\\*".join(suffix) for suffix in ("png", "jpg", "jpeg", "gif", "webp"))
ROOTED: Final = r"(?:\\*/|[A-Za-z]:\\|\\\\)"
PICTURE: Final = rf"""(?i)^[\s\ufeff"']*{ROOTED}.*\.\\*(?:{PICTURES})[\s\ufeff"']*(?:$| ["']?{ROOTED})"""
"""A line whose words are paths, one of them of a picture: where that exists, a paste attaches it instead (2.1.328)."""
STATUS: Final = {"idle": ScreenState.READY, "busy": ScreenState.BUSY, "waiting": ScreenState.ASKS}
STATUS_BYTES: Final = 64 * 1024


def config_directory(facts: SessionFacts) -> Path:
    """Return where the client keeps its state: `CLAUDE_CONFIG_DIR`, else `~/.claude`."""
    chosen = facts.env.get("CLAUDE_CONFIG_DIR")
    return Path(chosen) if chosen else Path(facts.env.get("HOME") or Path.home()) / ".claude"


def _status_file(facts: SessionFacts, *, also_of_dead: bool = False) -> dict[str, Any] | None:
    """Return what the client says of itself, None when it says nothing or somebody else said it.

    The file goes stale when the client is killed: it counts only for the process that wrote it, or,
    `also_of_dead`, as its last word.
    """
    if facts.pane_pid is None:
        return None
    path = config_directory(facts) / "sessions" / f"{facts.pane_pid}.json"
    try:
        with opened_regular(path) as file:
            said = json.loads(file.read(STATUS_BYTES))
            written = os.fstat(file.fileno()).st_mtime
        started = str(said["procStart"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("pid") != facts.pane_pid:
        return None
    try:
        now = start_time(facts.pane_pid)
    except ProcessUnknown:
        return None
    if now is None and also_of_dead:
        return said if written >= facts.woke_at else None
    return said if now == started or not sys.platform.startswith("linux") else None


def status(facts: SessionFacts) -> ScreenState | None:
    """Return what the client says it is doing; a word nobody knows is `unknown`."""
    said = _status_file(facts)
    return None if said is None or "status" not in said else STATUS.get(str(said["status"]), ScreenState.UNKNOWN)


def refer(facts: SessionFacts) -> str | None:
    """Return the id of the conversation that the session is in now, or was last: `/clear` starts a new one."""
    said = _status_file(facts, also_of_dead=True)
    current = said.get("sessionId") if said else None
    if isinstance(current, str) and REFERENCE.fullmatch(current):
        return current
    return _last_written(facts) or facts.session_ref or facts.session_id


def _last_written(facts: SessionFacts) -> str | None:
    """Return the conversation of this directory that was written last, of a client that has ended and left no word."""
    try:
        if facts.pane_pid is None or start_time(facts.pane_pid) is not None:
            return None
    except ProcessUnknown:
        return None
    paths = (_projects(facts) / slug(facts.cwd)).glob("*.jsonl")
    found = ((_changed(path), path.stem) for path in paths if REFERENCE.fullmatch(path.stem))
    return max((each for each in found if each[0] >= facts.woke_at), default=(0.0, None))[1]


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _projects(facts: SessionFacts) -> Path:
    return config_directory(facts) / "projects"


def slug(cwd: Path) -> str:
    """Return the name of a directory's transcripts, as the client makes it of short paths."""
    return re.sub(r"[^A-Za-z0-9]", "-", os.path.realpath(cwd))


def locate(facts: SessionFacts) -> Path | None:
    """Return the transcript of the conversation that the session is in now, None before its first prompt."""
    return _stored(facts, refer(facts))


def left(facts: SessionFacts) -> tuple[Path, ...]:
    """Return the transcript of the conversation that the session began with: after `/clear` it is in another."""
    path = _stored(facts, facts.session_ref or facts.session_id)
    return () if path is None else (path,)


def _stored(facts: SessionFacts, reference: str | None) -> Path | None:
    if reference is None or not REFERENCE.fullmatch(reference):
        return None
    projects = _projects(facts)
    candidates: Iterable[Path] = (projects / slug(facts.cwd) / f"{reference}.jsonl",)
    return _first(candidates) or _first(projects.glob(f"*/{reference}.jsonl"))


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def follow(facts: SessionFacts, cwd: Path) -> tuple[tuple[Path, Path], ...]:
    """Return the directory of the transcripts, which is named after that of the peer, and its new name.

    Where that is taken they stay: 2.1.328 finds a conversation by its id under any name (measured).
    """
    projects = config_directory(facts) / "projects"
    source, target = projects / slug(facts.cwd), projects / slug(cwd)
    return ((source, target),) if source.is_dir() and not target.exists() else ()


READER: Final = Reader(parse=parse, locate=locate, left=left, refer=refer, status=status, follow=follow)

SCREEN: Final = ScreenRules(
    composer="^(?=[❯!]\u00a0)(?:❯\u00a0)?(?P<text>.*)$",
    composer_top=r"^─{3,}",
    composer_end=r"^─{3,}",
    placeholder=r"Press up to edit queued messages|Resend your message to try again|Try \"[^\n]*\"",
    faint_is_ghost=True,
    footer=10,
    busy=(
        r"^[·✢✳✶✻✽*∗] [^\s…]+(?: [^\s…]+)*…(?: \(.*)?$",
        r"^  (?:[⏵⏸].* · )?esc to interrupt",
    ),
    busy_title=(r"^[◐◓◑◒\u2801-\u28ff] ",),
    busy_above=10,
    asks=(
        r"^ ?Do you want to ",
        r"^ ?Would you like to ",
        r"\bEsc to (?:cancel|exit|close|go back)\b",
        r"\bEnter to (?:confirm|select|continue|submit|save)\b",
        r"^ {0,3}Accessing workspace:$",
    ),
    collapsed=r"\[Pasted text #\d+(?: \+(?P<lines>\d+) lines)?\]",
)

CLAUDE: Final = Runtime(
    name="claude",
    install="npm install -g @anthropic-ai/claude-code, then run `claude` once to log in",
    verified=("2.1.197", "2.1.328"),
    argv=("claude", "--session-id", "{session_id}"),
    resume_argv=("claude", "--resume", "{session_ref}"),
    prompt_argv=("--append-system-prompt-file", "{prompt_file}"),
    # 2.1.328 keeps to the prompt it recorded unless told not to; 2.1.197 reads the file anew, and refuses the option.
    prompt_resume_argv=("--append-system-prompt-file", "{prompt_file}", "--system-prompt-snapshot", "off"),
    prompt_resume_needs="--system-prompt-snapshot",
    env={"CLAUDE_CODE_ENABLE_PROMPT_SUGGESTION": "false"},
    env_pass=(
        *("ANTHROPIC_*", "AWS_*", "GOOGLE_*", "VERTEX_*", "CLOUD_ML_REGION", "API_TIMEOUT_MS", "IS_SANDBOX"),
        *("CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_*", "CLAUDE_CODE_SKIP_*"),
        *("CLAUDE_CODE_DISABLE_*", "CLAUDE_CODE_ENABLE_*", "CLAUDE_CODE_MAX_*", "CLAUDE_CODE_EFFORT_LEVEL"),
        *("CLAUDE_CODE_SUBAGENT_MODEL", "CLAUDE_CODE_CLIENT_*", "CLAUDE_CODE_CERT_STORE", "CLAUDE_CODE_API_BASE_URL"),
        *("DISABLE_*", "BASH_*", "MCP_*", "MAX_THINKING_TOKENS", "OTEL_*", "USE_BUILTIN_RIPGREP"),
    ),
    dialogs=(
        Dialog(
            name="trust",
            pattern=r"^ ?Accessing workspace:",
            choose=r"^ *(?:❯ )?(?:\d\. )?Yes, I trust this folder$",
            times=2,
        ),
        Dialog(
            name="mcp-server",
            pattern=r"^ *New MCP server found in this project: peerwake$",
            choose=r"^ *(?:❯ )?(?:\d\. )?Use this MCP server$",
        ),
        Dialog(
            name="bypass-permissions",
            pattern=r"^ *WARNING: Claude Code running in Bypass Permissions mode",
            choose=r"^ *(?:❯ )?(?:\d\. )?Yes, I accept$",
        ),
        Dialog(
            name="resume-whole",
            pattern=r"^ *This session is .+ old and .+ tokens\.",
            choose=r"^ *(?:❯ )?(?:\d\. )?Resume full session as-is$",
        ),
    ),
    mcp_files=(".mcp.json",),
    rewritten_line=PICTURE,
    screen=SCREEN,
    takes_input_while_busy=True,
    interrupt_keys=("Escape",),
    reset_text="/clear",
    compact_text="/compact",
    reader="claude",
)
