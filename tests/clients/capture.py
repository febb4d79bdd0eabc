"""Play the scenes with the real clients and keep what they show as fixtures: `python -m tests.clients.capture [NAME…]`.

A name is a scene's or a part of one (`claude-busy`). Names of this machine and this user are replaced.
"""

import getpass
import socket
import sys
from pathlib import Path

import anyio

from tests.clients.client import Client
from tests.clients.harness import ClientWorld
from tests.clients.scenes import RULES, SCENES, Scene
from transport.screen import read_screen
from transport.tmux import commands

FIXTURES = Path(__file__).parent.parent / "screens"


async def play(scene: Scene) -> str:
    """Play one scene, write its fixture, and return a line about it."""
    async with ClientWorld(RULES) as world:
        world.configure(scene.runtime, "alice")
        begin = world.start if scene.boots else world.launch
        client = await begin(scene.runtime, "alice", argv=scene.argv)
        await scene.play(client)
        with anyio.move_on_after(2):
            await client.until(scene.state, seconds=3)
        text, state = await captured(client)
        for ours, neutral in ((str(world.base), "/home/user/pw"), (socket.gethostname(), "host")):
            text = text.replace(ours, neutral)
        assert getpass.getuser() == "root" or getpass.getuser() not in text
    path = FIXTURES / scene.runtime / scene.state / f"{scene.name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return f"{scene}: {state}" + ("" if state == scene.state else f"   <-- NOT {scene.state}")


async def captured(client: Client) -> tuple[str, str]:
    """Return a fixture's text with its header, and how the screen is read."""
    screen = await client.screen()
    reading = read_screen(screen, client.runtime.screen)
    (block,) = await client.pane.control.batch([commands.capture(client.pane.pane_id)])
    title = f" title={screen.title}" if screen.title else ""
    typed = "" if reading.input_text is None else " input=" + reading.input_text.replace("\n", "\\n")
    header = f"#!{title} cursor={screen.cursor_x},{screen.cursor_y}{' mode' if screen.in_mode else ''}{typed}"
    return header + "\n" + "\n".join(block.lines) + "\n", reading.state


async def main(names: list[str]) -> int:
    wrong = 0
    for scene in SCENES:
        if names and not any(name in str(scene) for name in names):
            continue
        try:
            line = await play(scene)
        except AssertionError as error:
            line = f"{scene}   <-- {error}"
        wrong += "<--" in line
        print(line, flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(anyio.run(main, sys.argv[1:]))
