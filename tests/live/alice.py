"""What live tests ask about the scripted peer alice."""

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.live.world import World, until


def bodies(world: World, name: str = "alice") -> list[str]:
    return ["\n".join(text.splitlines()[1:-1]) for text in world.prompts(name)]


def fence(world: World, identity: str = "scripted-alice") -> str:
    return str(world.session(identity)["fence"])


def is_new(world: World, old: str) -> bool:
    """Tell whether a ready session with another fence is there."""
    with suppress(OSError, ValueError):
        session = world.session("scripted-alice")
        return session["fence"] != old and bool(session["is_ready"])
    return False


def screen(world: World, identity: str = "scripted-alice") -> str:
    argv = ["tmux", "-N", "-S", str(tmux_socket(world, identity)), "capture-pane", "-p", "-t", f"={identity}:"]
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=10).stdout


def tmux_socket(world: World, identity: str) -> Path:
    return world.root.run / "tmux" / f"{identity}.sock"


def consumed(world: World, message_id: str) -> dict[str, Any]:
    """Wait until a message is settled and return its history."""
    return until(lambda: (it := world.json("queue", "show", message_id))["state"] == "consumed" and it, 20, "a receipt")


def busy(world: World) -> None:
    until(lambda: "esc to interrupt" in screen(world), 10, "the work")
