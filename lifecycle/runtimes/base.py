"""What is known of one client: data and pure functions, checked when it is loaded."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path
from typing import Annotated, Final, Self, TypeAlias, assert_never

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lifecycle.runtimes.dialog import Dialog
from lifecycle.states import Mode, RuntimeKind
from transport.envelope import Form
from transport.errors import InvalidInput, PeerwakeError
from transport.identity import check_runtime
from transport.screen import Regex, ScreenRules
from transport.vocabulary import Intelligence, Receipt, ScreenState

PROMPT_PARTS: Final = 8
PLACEHOLDER: Final = re.compile(r"\{\{([a-z_]+)\}\}|\{([a-z_]+)\}")
ALWAYS: Final = frozenset({"session_id", "cwd", "python", "home", "agents"})
AGENTS: Final = Path(__file__).parent / "agents"
COMMON_ENV: Final = (
    *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "COLORTERM"),
    *("XDG_*", "SSL_CERT_*", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK"),
)
NEVER_PASSED: Final = ("PEER_*", "PEERWAKE_*", "TMUX", "TMUX_*", "TERM")
OWN_PLACES: Final = ("PEERWAKE_TRANSCRIPT", "CODEX_HOME", "CLAUDE_CONFIG_DIR")
REFERENCE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]*")
"""A conversation's name that can be a word of a command line and a part of a path."""
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ENV_GLOB: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")

Parse: TypeAlias = Callable[[bytes], tuple[str, Receipt] | None]
Locate: TypeAlias = Callable[["SessionFacts"], Path | None]
Left: TypeAlias = Callable[["SessionFacts"], tuple[Path, ...]]
Refer: TypeAlias = Callable[["SessionFacts"], str | None]
Status: TypeAlias = Callable[["SessionFacts"], ScreenState | None]
Follow: TypeAlias = Callable[["SessionFacts", Path], tuple[tuple[Path, Path], ...]]


class CannotResume(PeerwakeError):
    """There is no conversation that this runtime could resume; the caller starts fresh or tells the user."""

    code = "cannot-resume"


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One start of a client: `session_id` is a UUID we chose, `session_ref` names the conversation to resume.

    `is_prompt_held`: that conversation was given this very prompt already; `is_prompt_renewable`: the
    client that is installed knows what `prompt_resume_needs` names.
    """

    mode: Mode
    session_id: str
    cwd: Path
    home: Path
    python: str
    session_ref: str | None = None
    prompt_file: Path | None = None
    is_prompt_held: bool = False
    is_prompt_renewable: bool = True


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """What a locator may know of a running session; `woke_at` in wall seconds, `env` as it was launched."""

    session_id: str
    cwd: Path
    woke_at: float
    env: Mapping[str, str] = field(default_factory=dict)
    pane_pid: int | None = None
    session_ref: str | None = None

    @property
    def place(self) -> Path:
        """Where the client keeps its files, if its environment names a place of its own, else its peer's directory."""
        return Path(next(filter(None, map(self.env.get, OWN_PLACES)), self.cwd))


def _no_status(_: SessionFacts) -> ScreenState | None:
    return None


def _nothing(*_: object) -> tuple[()]:
    return ()


def _chosen_id(facts: SessionFacts) -> str | None:
    return facts.session_ref or facts.session_id


@dataclass(frozen=True, slots=True)
class Reader:
    """The code half of a runtime, found by the name in `Runtime.reader`.

    `parse` is pure: one line of the transcript → the message id it proves and how far, or None.
    The others may read files (call them off the event loop) and answer None for "cannot tell":
    `locate` the transcript; `left` those of conversations that the session was in before, as far as that
    can be seen; `refer` the reference that resumes this conversation; `status` what the
    client itself says it is doing. A status other than READY holds a message whatever the screen
    shows; READY never overrules the screen. `follow` tells which files outside of the peer's directory
    are named after it, and what they are called when it is moved to another.
    """

    parse: Parse
    locate: Locate
    left: Left = _nothing
    refer: Refer = _chosen_id
    status: Status = _no_status
    follow: Follow = _nothing

    @property
    def has_status(self) -> bool:
        return self.status is not _no_status


def _placeholders(words: tuple[str, ...], allowed: frozenset[str], where: str) -> None:
    for word in words:
        for _, name in PLACEHOLDER.findall(word):
            if name and name not in allowed:
                known = " ".join(f"{{{each}}}" for each in sorted(allowed))
                raise ValueError(
                    f"{where}: unknown placeholder {{{name}}}; here you can use {known}, or {{{{{name}}}}}"
                )


def _check_glob(path: str, where: str) -> None:
    """Refuse what `Path.glob` would raise an error for, each time that it is asked."""
    parts = path.split("/")[1:]
    bad = next((part for part in parts if "**" in part and part != "**"), None)
    if bad is not None:
        raise ValueError(f"{where}: {bad!r} is no pattern; ** stands alone between two /, and * is a part of a name")
    if not set(parts) - {"", "."}:
        raise ValueError(f"{where}: it names no file; give the path of the transcripts, with * for what differs")


def _name(value: str) -> str:
    try:
        return check_runtime(value)
    except InvalidInput as error:
        raise ValueError(error.problem) from error


def _words(value: tuple[str, ...]) -> tuple[str, ...]:
    for word in value:
        if "\0" in word:
            raise ValueError("a word contains a NUL byte; remove it")
    return value


def _globs(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        if not ENV_GLOB.fullmatch(name):
            raise ValueError(f"{name!r} is not a variable's name, optionally ending in '*'")
    return value


Words: TypeAlias = Annotated[tuple[str, ...], AfterValidator(_words)]


class Runtime(BaseModel):
    """One client, as data. `{name}` in argv, resume_argv, prompt_argv and env is replaced word by word,
    `{{name}}` stands for `{name}`, other braces are literal. Nothing passes through a shell.

    `reader` names code in the table (transcript, session reference, status); `transcript_path`
    (a path, `*` allowed, the newest match since the start wins) replaces where that code looks.
    `refusals` are screens on which a client stays at its start that cannot work, or not now.
    `mcp_files` are those in the peer's directory that configure MCP servers: where one names ours, the first
    message waits a moment for the client to ask for its tools.
    `attempts`, `receipt_seconds` and `inline_bytes` override the limits of the host for this runtime.
    `prompt_argv` pass the composed prompt, on a resume `prompt_resume_argv` where the client's `--help`
    names `prompt_resume_needs`, and `prompt_held_argv` where the conversation has that prompt already.
    `rewritten_line` is searched in each line of a body: one that the client's composer would make something else
    of when it is pasted, so that it goes into a file with the whole body.
    `verified` are the versions of the client that its screens and its transcripts were tried with.
    `has_composer` False: each line goes to the program as it is typed, so nothing can be verified
    before it is submitted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_name)]
    kind: RuntimeKind = RuntimeKind.AGENT
    requires_intelligence: Intelligence | None = None
    install: str = ""
    verified: Words = ()

    argv: Words = ()
    resume_argv: Words = ()
    prompt_argv: Words = ()
    prompt_resume_argv: Words | None = None
    prompt_resume_needs: str = ""
    prompt_held_argv: Words | None = None
    prompt_part_bytes: int | None = Field(default=None, ge=8_000)
    env: dict[str, str] = {}
    env_pass: Annotated[tuple[str, ...], AfterValidator(_globs)] = ()

    dialogs: tuple[Dialog, ...] = ()
    refusals: tuple[Regex, ...] = ()
    mcp_files: tuple[str, ...] = ()
    screen: ScreenRules
    submit: tuple[str, ...] = ("Enter",)
    has_composer: bool = True
    takes_input_while_busy: bool = False
    interrupt_keys: tuple[str, ...] = ()
    reset_text: str | None = None
    compact_text: str | None = None

    reader: str | None = None
    transcript_path: str | None = None
    no_receipt: str = "the client showed no evidence that it took the message"
    attempts: int | None = Field(default=None, ge=1, le=20)
    receipt_seconds: float | None = Field(default=None, gt=0, le=3600)
    inline_bytes: int | None = Field(default=None, ge=256, le=65_536)
    rewritten_line: Regex | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _placeholders(self.argv, ALWAYS, "argv")
        _placeholders(self.resume_argv, ALWAYS | {"session_ref"}, "resume_argv")
        for field_name in ("prompt_argv", "prompt_resume_argv", "prompt_held_argv"):
            _placeholders(getattr(self, field_name) or (), ALWAYS | {"prompt_file"}, field_name)
        _placeholders((self.transcript_path or "",), ALWAYS, "transcript_path")
        if self.transcript_path and not self.transcript_path.startswith(("/", "{home}/", "{cwd}/")):
            raise ValueError("transcript_path: it must begin with /, {home}/ or {cwd}/")
        _check_glob(self.transcript_path or "/*", "transcript_path")
        for name, value in self.env.items():
            if not ENV_NAME.fullmatch(name) or "\0" in value:
                raise ValueError(f"env: {name!r} is not a variable that can be set; use letters, digits and '_'")
            _placeholders((value,), ALWAYS, f"env.{name}")
        return self

    def form(self, inline_bytes: int) -> Form:
        """Return what body can be typed into this client, where the host's limit is `inline_bytes`."""
        return Form(self.inline_bytes or inline_bytes, self.rewritten_line)

    def command(self, spec: LaunchSpec) -> tuple[str, ...]:
        """Return the words to execute, never to be given to a shell; raises CannotResume."""
        values = _values(spec)
        match spec.mode:
            case Mode.FRESH:
                words = self.argv
            case Mode.RESUME:
                if not self.resume_argv or spec.session_ref is None:
                    what = "cannot resume" if not self.resume_argv else "has no earlier conversation to resume here"
                    raise CannotResume(f"runtime {self.name} {what}; start the peer fresh instead")
                values["session_ref"] = spec.session_ref
                words = self.resume_argv
            case _:
                assert_never(spec.mode)
        if spec.prompt_file is not None:
            values["prompt_file"] = str(spec.prompt_file)
            words = (*words, *self._prompt_words(spec))
        return tuple(_substitute(word, values) for word in words)

    def _prompt_words(self, spec: LaunchSpec) -> Words:
        if spec.mode is Mode.RESUME:
            if spec.is_prompt_held and self.prompt_held_argv is not None:
                return self.prompt_held_argv
            if spec.is_prompt_renewable and self.prompt_resume_argv is not None:
                return self.prompt_resume_argv
        return self.prompt_argv

    def environment(self, operator: Mapping[str, str], spec: LaunchSpec) -> dict[str, str]:
        """Return what the client gets: of the operator's variables the allowed ones, then `env`.

        Variables of a session (`PEER_*`, `PEERWAKE_*`, `TMUX*`) never pass from one to another.
        """
        allowed = (*COMMON_ENV, *self.env_pass)
        passed = {
            name: value
            for name, value in operator.items()
            if _matches(name, allowed) and not _matches(name, NEVER_PASSED)
        }
        values = _values(spec)
        return passed | {name: _substitute(value, values) for name, value in self.env.items()}

    def transcript_pattern(self, facts: SessionFacts) -> str | None:
        """Return `transcript_path` as a glob, None when the reader decides."""
        if self.transcript_path is None:
            return None
        home = Path(facts.env.get("HOME") or Path.home())
        spec = LaunchSpec(Mode.FRESH, facts.session_id, facts.cwd, home, sys.executable)
        values = {name: escape(value) for name, value in _values(spec).items()}
        return _substitute(self.transcript_path, values)


def _values(spec: LaunchSpec) -> dict[str, str]:
    return {
        "session_id": spec.session_id,
        "cwd": str(spec.cwd),
        "home": str(spec.home),
        "python": spec.python,
        "agents": str(AGENTS),
    }


def _substitute(word: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: f"{{{found[1]}}}" if found[1] else values[found[2]], word)


def literal(word: str) -> str:
    """Return what stands for exactly `word` where placeholders are replaced."""
    return re.sub(r"\{([a-z_]+)\}", r"{{\1}}", word)


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
