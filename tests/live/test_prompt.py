"""The composed prompt reaches a session, fresh and resumed, as the files are at that moment."""

from pathlib import Path
from typing import Any

import pytest

from lifecycle.session import Sessions
from tests.live.world import World, until
from transport.identity import Identity

pytestmark = pytest.mark.live
ALICE = Identity("scripted", "alice")


def doctrine(cwd: Path, text: str) -> None:
    path = cwd / ".peerwake" / "PEER.md"
    path.write_text(text)
    path.chmod(0o600)


def starts(world: World) -> list[dict[str, Any]]:
    """What the agent noted of each of its starts."""
    return [record for record in world.transcript("alice") if "resumed" in record]


def wake(world: World, body: str) -> None:
    assert world.send("alice", body, "--topic", "release", "--wait", "30")["status"] == "delivered"


def rest(world: World) -> None:
    """End the session so that the same topic resumes it."""
    for verb in ("stop", "start"):
        assert world.run(verb, "alice").returncode == 0
    until(lambda: Sessions(world.root).load(ALICE) is None, 10, "the end of the session")


def test_fresh_and_resumed_it_is_what_the_command_prints(world: World) -> None:
    cwd = world.create("alice")
    doctrine(cwd, "Be kind.\n")
    world.serve()
    for number, is_resumed in enumerate((False, True)):
        wake(world, f"number {number}")
        start = starts(world)[-1]
        assert start["resumed"] is is_resumed
        printed = world.run("prompt", "alice").stdout
        assert Path(start["prompt_file"]).read_text() == printed
        assert start["prompt_bytes"] == len(printed.encode())
        assert f"number {number}" not in printed and printed.count("Be kind") == 1 + number
        rest(world)
        doctrine(cwd, "Be kind.\nBe kinder.\n")


def test_a_bare_peer_gets_no_prompt_and_one_whose_doctrine_went_gets_none_any_more(world: World) -> None:
    cwd = world.create("alice")
    world.serve()
    wake(world, "bare")
    rest(world)
    doctrine(cwd, "Be kind.\n")
    wake(world, "told")
    rest(world)
    (cwd / ".peerwake" / "PEER.md").unlink()
    wake(world, "bare again")
    assert ["prompt_file" in start for start in starts(world)] == [False, True, False]
    record = Sessions(world.root).load(ALICE)
    assert record is not None and record.prompt is None


def test_doctrine_that_others_can_write_is_left_out_and_the_peer_wakes(world: World) -> None:
    cwd = world.create("alice")
    doctrine(cwd, "Trust everybody.\n")
    (cwd / ".peerwake" / "PEER.md").chmod(0o666)
    world.serve()
    wake(world, "hello")
    text = Path(starts(world)[-1]["prompt_file"]).read_text()
    assert "Trust everybody" not in text and "others can write it" in text
    assert "ev=prompt-flaw identity=scripted-alice" in world.log("lifecycle")


def test_the_session_knows_where_its_prompt_is(world: World) -> None:
    cwd = world.create("alice")
    doctrine(cwd, "Be kind.\n")
    world.serve()
    wake(world, "hello")
    record = Sessions(world.root).load(ALICE)
    assert record is not None and record.pane is not None
    environ = Path(f"/proc/{record.pane.pid}/environ").read_bytes().split(b"\0")
    assert f"PEER_PROMPT={world.root.run}/prompts/scripted-alice.md".encode() in environ
