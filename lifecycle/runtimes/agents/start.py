"""The start of the agent: its arguments, its terminal, its transcript."""

import os
import sys
import termios

from lifecycle.runtimes.agents.agent import Agent
from lifecycle.runtimes.agents.record import Transcript

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = ".peerwake/runtimes/scripted"
USAGE = "usage: scripted.py [--session-id UUID | --resume UUID] [--prompt-file FILE]"


def _options(words: list[str]) -> "dict[str, Any] | None":
    options: dict[str, Any] = dict.fromkeys(("--session-id", "--resume", "--prompt-file"))
    while words:
        name, *words = words
        if name not in options or not words:
            return None
        options[name], *words = words
    return options


def _transcript(options: "dict[str, Any]", cwd: str) -> Transcript:
    session_id = options["--resume"] or options["--session-id"]
    if session_id is None:
        import uuid

        session_id = str(uuid.uuid4())
    about: dict[str, object] = {"cwd": cwd, "resumed": options["--resume"] is not None}
    if options["--prompt-file"] is not None:
        with open(options["--prompt-file"], "rb") as file:
            about |= {"prompt_file": options["--prompt-file"], "prompt_bytes": len(file.read())}
    return Transcript(f"{cwd}/{DIRECTORY}", session_id, about)


def run(words: list[str]) -> int:
    """Check the arguments, take the terminal, run the agent and give the terminal back."""
    options, cwd = _options(words), os.getcwd()
    if options is None or not os.isatty(0):
        sys.stderr.write(f"{USAGE}; needs a terminal\n")
        return 2
    try:
        transcript = _transcript(options, cwd)
    except OSError as error:
        sys.stderr.write(f"scripted: cannot read the prompt file: {error}\n")
        return 1
    if not all(char.isalnum() or char in "-_" for char in transcript.session_id):
        sys.stderr.write("scripted: a session id is made of letters, digits, '-' and '_'\n")
        return 2
    if options["--resume"] and not transcript.exists:
        sys.stderr.write(f"No conversation found with session ID: {transcript.session_id}\n")
        return 1
    return _in_raw_mode(Agent(transcript, cwd))


def _in_raw_mode(agent: Agent) -> int:
    before, raw = termios.tcgetattr(0), termios.tcgetattr(0)
    raw[0] &= ~(termios.BRKINT | termios.ICRNL | termios.INPCK | termios.ISTRIP | termios.IXON)
    raw[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | termios.ISIG)
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(0, termios.TCSANOW, raw)
    try:
        return agent.run()
    finally:
        agent.view.write("\x1b[?2004l\r\n")
        termios.tcsetattr(0, termios.TCSANOW, before)
