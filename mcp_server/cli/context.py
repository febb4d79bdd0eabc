"""What one run of the command was given: the environment is read here and nowhere else."""

import io
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from transport.home import root_at


class Context:
    """Root, credential, place and terminal of one run. `cwd` is None when the directory is gone."""

    def __init__(self, environ: Mapping[str, str], stdout: TextIO, stderr: TextIO) -> None:
        self.environ = environ
        self.stdout = stdout
        self.stderr = stderr
        self.home = root_at(environ.get("PEERWAKE_HOME"))
        self.server_socket = f"{self.home}/run/server.sock"
        self.credential = environ.get("PEERWAKE_CREDENTIAL") or None
        self.cwd = _working_directory()
        self.wants_json = False

    @property
    def has_colour(self) -> bool:
        """Colour is for terminals, and never with NO_COLOR."""
        return self.stdout.isatty() and not self.environ.get("NO_COLOR") and self.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int | None:
        """Columns of the terminal, None when the output goes elsewhere."""
        try:
            return os.get_terminal_size(self.stdout.fileno()).columns if self.stdout.isatty() else None
        except (OSError, ValueError):
            return None

    def say(self, text: str) -> None:
        """Print one line of result."""
        self.stdout.write(text + "\n")

    def note(self, text: str) -> None:
        """Print one line about the run, not part of its result."""
        self.stderr.write(f"peerwake: {text}\n")


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except FileNotFoundError:
        return None


def from_process() -> Context:
    """Return the context of this process, its streams made safe to write any text to."""
    streams: list[TextIO] = [sys.stdout or io.StringIO(), sys.stderr or io.StringIO()]
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return Context(os.environ, *streams)
