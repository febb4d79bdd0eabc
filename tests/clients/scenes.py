"""Screens that the real clients can be brought to show, and what each must be read as.

`test_screens.py` plays them live; `python -m tests.clients.capture` plays them and keeps the captures
as fixtures in tests/screens.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from tests.clients.client import Client
from tests.model_server import Call, Fail, Rule, Say
from transport.vocabulary import ScreenState

Play = Callable[[Client], Awaitable[object]]

ENVELOPE = (
    '<peer-message-7k3f9q id="m_{id:0>20}" from="bob" runtime="claude" intelligence="artificial"'
    ' at="2026-11-20T08:04:46+00:00">\n{body}\n</peer-message-7k3f9q>'
)
QUESTION = {
    "questions": [
        {
            "id": "colour",
            "question": "Which colour?",
            "header": "Colour",
            "multiSelect": False,
            "options": [{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}],
        }
    ]
}
ESCALATED = {
    "cmd": "touch /nonexistent/peerwake-test",
    "sandbox_permissions": "require_escalated",
    "justification": "May I touch it?",
}
RULES = (
    Rule("speak slowly", Say("one two three four five six seven eight nine ten", seconds=10)),
    Rule("say nothing yet", Say("at last", silence=10)),
    Rule("run slowly", Call("Bash", {"command": "sleep 8", "description": "wait"})),
    Rule("execute slowly", Call("exec_command", {"cmd": "sleep 8"})),
    Rule("ask to touch", Call("Bash", {"command": "touch /nonexistent/peerwake-test", "description": "touch"})),
    Rule("ask to write", Call("Write", {"file_path": "/nonexistent/peerwake-test", "content": "one\ntwo\n"})),
    Rule("ask to escalate", Call("exec_command", ESCALATED)),
    Rule("ask me", Call("AskUserQuestion", QUESTION)),
    Rule("fail", Fail(529, times=50)),
    Rule("show things", Say("❯ not an input line\n\n> nor this\n\n› nor that\n\n• Working (3s • esc to interrupt)")),
)


def envelope(number: int, body: str) -> str:
    """Return a message as it would be delivered; its id is `message_id(number)`."""
    return ENVELOPE.format(id=number, body=body)


def message_id(number: int) -> str:
    return f"m_{number:0>20}"


@dataclass(frozen=True, slots=True)
class Scene:
    """A screen: how it is reached, and what it must be read as; `input_text` None is not checked."""

    runtime: str
    state: ScreenState
    name: str
    play: Play
    input_text: str | None = None
    argv: tuple[str, ...] = ()
    boots: bool = True

    def __str__(self) -> str:
        return f"{self.runtime}-{self.state}-{self.name}"


async def nothing(_: Client) -> None:
    """The screen as it is after the boot."""


def shown(text: str) -> Play:
    async def play(client: Client) -> None:
        await client.shows(text)

    return play


def typed(text: str, then: str) -> Play:
    async def play(client: Client) -> None:
        await client.type(text)
        await client.shows(then)

    return play


def pressed(key: str, then: str) -> Play:
    async def play(client: Client) -> None:
        await client.submit("hello")
        await client.until(ScreenState.READY)
        await client.press(key)
        await client.shows(then)

    return play


def pasted(text: str) -> Play:
    async def play(client: Client) -> None:
        await client.paste(text)

    return play


def submitted(text: str, then: str) -> Play:
    async def play(client: Client) -> None:
        await client.submit(text)
        await client.shows(then)

    return play


def answered(*texts: str) -> Play:
    """Submit texts, each when the client is ready again."""

    async def play(client: Client) -> None:
        for text in texts:
            await client.submit(text)
            await client.until(ScreenState.READY)

    return play


def while_busy(text: str, then: str, *, more: Play = nothing) -> Play:
    async def play(client: Client) -> None:
        await client.submit(text)
        await client.shows(then)
        await more(client)

    return play


def queued(text: str, then: str) -> Play:
    async def play(client: Client) -> None:
        await client.paste(text)
        await client.press("Enter")
        await client.shows(then)

    return play


LONG = "\n".join(f"line {number} of a long text" for number in range(60))


def small(columns: int, rows: int, play: Play = nothing) -> Play:
    """Play, then look at it in a small terminal."""

    async def then_resize(client: Client) -> None:
        await play(client)
        await client.resize(columns, rows)
        await client.shows("")
        await anyio.sleep(0.5)

    return then_resize


R, D, B, A, U = ScreenState.READY, ScreenState.DRAFT, ScreenState.BUSY, ScreenState.ASKS, ScreenState.UNKNOWN
MANUAL = ("--permission-mode", "manual")

CLAUDE = (
    Scene("claude", R, "started", nothing, ""),
    Scene("claude", R, "manual-mode", nothing, "", MANUAL),
    Scene("claude", R, "answered", answered(envelope(1, "hello")), ""),
    Scene("claude", R, "hostile-answer", answered("show things"), ""),
    Scene("claude", R, "help-open", typed("?", "for shell mode"), ""),
    Scene("claude", R, "failed", submitted("fail", "API Error"), ""),
    Scene("claude", R, "20-columns", small(20, 50), ""),
    Scene("claude", R, "40-columns", small(40, 15, answered("hello")), ""),
    Scene("claude", D, "half-a-line", typed("half a line", "half a line"), "half a line"),
    Scene("claude", D, "shell-mode", typed("!", "! for shell mode"), "!"),
    Scene("claude", D, "shell-command", typed("!ls", "! for shell mode")),
    Scene("claude", D, "slash-menu", typed("/", "/add-dir"), "/"),
    Scene("claude", D, "at-menu", typed("@", "(agent)"), "@"),
    Scene("claude", D, "pasted-envelope", pasted(envelope(1, "hello"))),
    Scene("claude", D, "pasted-collapsed", pasted(envelope(1, LONG)), "[Pasted text #1 +61 lines]"),
    Scene("claude", D, "pasted-20-columns", small(20, 50, pasted(envelope(1, "hello")))),
    Scene("claude", B, "silent", while_busy("say nothing yet", "esc to interrupt"), ""),
    Scene("claude", B, "speaking", while_busy("speak slowly", "●"), ""),
    Scene("claude", B, "running", while_busy("run slowly", "sleep 8"), ""),
    Scene("claude", B, "draft", while_busy("speak slowly", "●", more=typed("half", "half")), "half"),
    Scene("claude", B, "queued", while_busy("run slowly", "sleep 8", more=queued("more", "Queued")), ""),
    Scene("claude", B, "20-columns", small(20, 50, while_busy("say nothing yet", "…")), ""),
    Scene("claude", A, "trust", shown("Yes, I trust this folder"), None, boots=False),
    Scene("claude", A, "permission-bash", submitted("ask to touch", "Do you want to proceed?"), None, MANUAL),
    Scene("claude", A, "permission-write", submitted("ask to write", "Do you want to"), None, MANUAL),
    Scene("claude", A, "permission-20-columns", small(20, 50, submitted("ask to touch", "Yes")), None, MANUAL),
    Scene("claude", A, "question", submitted("ask me", "Which colour?"), None),
    Scene("claude", A, "model-menu", submitted("/model", "Esc to"), None),
    Scene("claude", U, "transcript-view", pressed("C-o", "transcript"), None),
    Scene("claude", U, "10-columns", small(10, 5), None),
)

CODEX = (
    Scene("codex", R, "started", nothing, ""),
    Scene("codex", R, "answered", answered(envelope(1, "hello")), ""),
    Scene("codex", R, "hostile-answer", answered("show things"), ""),
    Scene("codex", R, "help-open", typed("?", "customize"), ""),
    Scene("codex", R, "60-columns", small(60, 20, answered("hello")), ""),
    Scene("codex", D, "half-a-line", typed("half a line", "half a line"), "half a line"),
    Scene("codex", D, "shell-mode", typed("!", "Shell mode"), "!"),
    Scene("codex", D, "shell-command", typed("!ls", "ls")),
    Scene("codex", D, "slash-menu", typed("/", "/model"), "/"),
    Scene("codex", D, "pasted-envelope", pasted(envelope(1, "hello"))),
    Scene("codex", D, "pasted-collapsed", pasted(envelope(1, LONG)), None),
    Scene("codex", B, "silent", while_busy("say nothing yet", "esc to interrupt"), ""),
    Scene("codex", B, "speaking", while_busy("speak slowly", "one two"), ""),
    Scene("codex", B, "running", while_busy("execute slowly", "esc to interrupt"), ""),
    Scene("codex", B, "draft", while_busy("speak slowly", "one two", more=typed("half", "half")), "half"),
    Scene("codex", B, "retrying", while_busy("fail", "esc to interrupt"), ""),
    Scene("codex", A, "trust", shown("Trust and continue"), None, boots=False),
    Scene("codex", A, "approval", submitted("ask to escalate", "Yes, proceed"), None),
    Scene("codex", U, "starting", shown("loading"), None, boots=False),
    Scene("codex", U, "10-columns", small(10, 5), None),
)

SCENES = CLAUDE + CODEX
