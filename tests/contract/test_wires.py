"""A wire that cannot be opened leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import wires
from tests.live.world import World
from transport.paths import Root

DEAF = "import sys; print('{}', flush=True); sys.stdin.read()"


def test_the_process_of_a_wire_without_a_handshake_ends(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def deaf(world: World, token: str | None) -> wires.ProcessWire:
        made = wires.ProcessWire([sys.executable, "-c", DEAF], {}, Path("/"))
        started.append(made.process)
        return made

    monkeypatch.setattr(wires, "bridge_wire", deaf)
    with pytest.raises(AssertionError):
        wires.wire("bridge", World(root), "token")
    assert started[0].poll() is not None
