"""Any program as a peer: what it runs stands in the peer's directory, what it received it says itself."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lifecycle.runtimes.base import Reader, Runtime, SessionFacts, literal
from lifecycle.runtimes.overrides import RuntimeInvalid, invalid, read_toml, validate
from transport.files import write_atomic
from transport.message import MESSAGE_ID
from transport.process import holds_terminal
from transport.screen import ScreenRules
from transport.vocabulary import Receipt, ScreenState

DIRECTORY: Final = Path(".peerwake/runtimes/command")
FILE: Final = "command.toml"
ACKNOWLEDGED: Final = "acknowledged.jsonl"
TRANSCRIPT_VARIABLE: Final = "PEERWAKE_TRANSCRIPT"
READY_LINE: Final = "peerwake: ready"
PROMPT: Final = r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$"
NOTHING: Final = r"(?!)(?P<text>)"
CANONICAL_LINE_BYTES: Final = 3_000


class Program(BaseModel):
    """`command.toml`: the program of one peer, its words and variables exactly as they stand.

    `prompt` is the text at the start of the line where it waits for input; a program without one
    prints `peerwake: ready` on a line of its own whenever it waits. `receipt_seconds` is how long
    it may take to acknowledge a message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    argv: Annotated[tuple[str, ...], Field(min_length=1)]
    env: dict[str, str] = {}
    env_pass: tuple[str, ...] = ()
    prompt: Annotated[str, Field(max_length=200, pattern=PROMPT)] | None = None
    receipt_seconds: Annotated[float, Field(gt=0, le=3600)] | None = None


def program_path(cwd: Path) -> Path:
    """Return where the program of the peer that works in `cwd` is written down."""
    return cwd / DIRECTORY / FILE


def load_program(cwd: Path) -> Program:
    """Return the program of a peer; raises RuntimeInvalid, also when there is none."""
    path = program_path(cwd)
    try:
        return Program.model_validate(read_toml(path))
    except FileNotFoundError as error:
        problem = 'there is none; write it with at least: argv = ["program", "argument"]'
        raise RuntimeInvalid(path, "", problem) from error
    except ValidationError as error:
        raise invalid(path, error) from error


def save_program(cwd: Path, program: Program) -> Path:
    """Write the program of a peer and return the file; raises RuntimeInvalid or OSError."""
    path = program_path(cwd)
    with_program(COMMAND, program, path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fields = program.model_dump(exclude_defaults=True)
    tables = {name: value for name, value in fields.items() if isinstance(value, dict)}
    lines = [f"{name} = {_toml(value)}" for name, value in fields.items() if name not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{_toml(key)} = {_toml(value)}" for key, value in table.items())]
    write_atomic(path, "\n".join(lines) + "\n")
    return path


def with_program(runtime: Runtime, program: Program, path: Path) -> Runtime:
    """Return the runtime of one peer: its argv, and how its screen says that it waits for input."""
    fields: dict[str, Any] = runtime.model_dump() | {
        "argv": tuple(map(literal, program.argv)),
        "env": runtime.env | {name: literal(value) for name, value in program.env.items()},
        "env_pass": runtime.env_pass + program.env_pass,
    }
    if program.receipt_seconds is not None:
        fields["receipt_seconds"] = program.receipt_seconds
    if program.prompt is not None:
        composer = f"^{re.escape(program.prompt.rstrip())}(?P<text>.*)$"
        fields["screen"] |= {"composer": composer, "cursor_in_composer": True}
    return validate(path, fields)


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def parse(line: bytes) -> tuple[str, Receipt] | None:
    """Return the message that a line acknowledges: `{"received": "<id>"}`, or the id alone."""
    text = line.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        try:
            text = str(json.loads(text).get("received"))
        except (ValueError, RecursionError):
            return None
    return (text, Receipt.CONSUMED) if MESSAGE_ID.fullmatch(text) else None


def locate(facts: SessionFacts) -> Path | None:
    """Return the file in which the program acknowledges messages, None before the first."""
    path = Path(facts.env.get(TRANSCRIPT_VARIABLE) or facts.cwd / DIRECTORY / ACKNOWLEDGED)
    return path if path.is_file() else None


def status(facts: SessionFacts) -> ScreenState | None:
    """Return BUSY while a program that ours started (a shell, a pager) would get the keys."""
    held = None if facts.pane_pid is None else holds_terminal(facts.pane_pid)
    if held is None:
        return None
    return ScreenState.READY if held else ScreenState.BUSY


READER: Final = Reader(parse=parse, locate=locate, status=status)

COMMAND: Final = Runtime(
    name="command",
    env={TRANSCRIPT_VARIABLE: f"{{cwd}}/{DIRECTORY}/{ACKNOWLEDGED}"},
    screen=ScreenRules(
        composer=f"^{re.escape(READY_LINE)}(?P<text>)$",
        continuation=NOTHING,
        footer=0,
        busy=(r"\S",),
        busy_above=0,
    ),
    has_composer=False,
    interrupt_keys=("C-c",),
    reader="command",
    no_receipt=(
        f'the program did not acknowledge it: it must append a line {{"received": "<message id>"}} to the file'
        f" named in {TRANSCRIPT_VARIABLE}; the message was typed once and is not repeated"
    ),
    attempts=1,
    inline_bytes=CANONICAL_LINE_BYTES,
)
