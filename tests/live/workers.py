"""An ephemeral worker in a world: its settings, what it was told, and what the books say of it."""

import sqlite3
from typing import Any

from tests.live.world import World, until
from transport.registry import Registry
from transport.vocabulary import WakePolicy

SETTINGS = {
    "tcp": "false",
    "systemd_scope": "false",
    "standby": "false",
    "ephemeral_quiet_seconds": 0.2,
    "ephemeral_silence_seconds": 5,
    "backoff_seconds": 0.05,
    "tick_seconds": 0.3,
    "crash_count": 50,
}
WORKER = "scripted-worker"
REPLY: list[dict[str, Any]] = [{"reply": "done {body}"}]


def settle_on(world: World, **settings: object) -> None:
    """Write the settings where also the servers that bridges start find them."""
    text = "".join(f"{name} = {value}\n" for name, value in (SETTINGS | settings).items())
    world.root.config.write_text(text)


def bodies(world: World, name: str) -> list[str]:
    """Return what a peer was told, in its order, without the envelopes."""
    return ["\n".join(text.splitlines()[1:-1]) for text in world.prompts(name)]


def books(world: World, question: str, *values: object) -> list[Any]:
    """Ask the spool's file itself."""
    with sqlite3.connect(f"file:{world.root.spool}?mode=ro", uri=True, timeout=5) as db:
        rows = db.execute(question, values).fetchall()
    db.close()
    return rows


def accepted(world: World, name: str = WORKER) -> list[str]:
    """Return the bodies of all messages to an identity in the order of their acceptance."""
    question = "SELECT body FROM messages JOIN bodies USING (seq) WHERE recipient = ? ORDER BY seq"
    return [body for (body,) in books(world, question, name)]


def states(world: World) -> list[tuple[str, str]]:
    """Return state and reason of each of the worker's messages."""
    return books(world, "SELECT state, coalesce(reason, '') FROM messages WHERE recipient = ? ORDER BY seq", WORKER)


def all_settled(world: World, seconds: float = 60.0) -> None:
    """Wait until the worker has no message left and no session."""
    try:
        until(lambda: all(state in ("consumed", "dead") for state, _ in states(world)), seconds, "the end of all tasks")
    except AssertionError as error:
        shown = world.run("queue", "worker", "--json").stdout + world.run("why", "worker").stdout
        raise AssertionError(f"{states(world)}\n{shown}\n{world.log('lifecycle')}\n{world.log('delivery')}") from error
    until(lambda: not (world.root.state / f"{WORKER}.session").exists(), 20, "the end of the last session")


def sessions(world: World) -> int:
    """Return how many conversations the worker ever had."""
    return len(list((world.root.peers / "worker/.peerwake/runtimes/scripted").glob("*.jsonl")))


def set_policy(world: World, policy: WakePolicy) -> None:
    """Change the worker's profile, as an editor of it would."""
    registry = Registry(world.root)
    profile = registry.get("worker")
    assert profile is not None
    registry.update(profile.model_copy(update={"wake_policy": policy}))
