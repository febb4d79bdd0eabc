"""Real tmux servers with a shell for an agent, for the tests of their start and their end."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.terminal import until
from transport.tmux.ending import kill
from transport.tmux.server import ServerSpec, Started, start

ENV = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MARK": "a b'\"$#{pid};", "SHELL": "/bin/cat"}


def sh(path: Path, script: str, **changes: object) -> ServerSpec:
    spec = ServerSpec(path / "t.sock", "claude-alice", ("/bin/sh", "-c", script), ENV, path)
    return replace(spec, **changes)


@asynccontextmanager
async def running(spec: ServerSpec, deadline: float = 20.0) -> AsyncIterator[Started]:
    started = await start(spec, deadline)
    try:
        yield started
    finally:
        await kill(spec.socket, started.tmux, pane=started.pane)


async def written(path: Path) -> str:
    def text() -> str | None:
        found = path.read_text() if path.exists() else ""
        return found if found.endswith("\n") else None

    return await until(text)
