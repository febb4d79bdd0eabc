"""Who takes part in a run: recipients, the peers as whom the senders speak, and the senders."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_server.serve.credentials import load_credentials
from tests.faults.fault import Peer
from tests.faults.nobody import LetterWriter, make_unready
from tests.faults.senders import Sender, Tally, TaskWriter
from tests.faults.wire import CLI, KINDS, CommandLine, Connection
from tests.live.world import TOP, World
from transport.identity import parse_identity

RELAY: Final = {
    "match": r"^relay to (\S+) (\S+)$",
    "send": [{"to": "{1}", "message": "relayed {2} by {id}"}],
    "wait_seconds": 0,
}
DEEDS: Final = (
    RELAY,
    {"match": r"^work \S+$", "busy_seconds": 0.5},
    {"match": r"^toil \S+$", "busy_seconds": 3.0},
    {"match": r"^leave \S+$", "exit": 0},
)
RULES: Final[dict[str, Any]] = {"rules": [*DEEDS, {}]}
BOOTS: Final[tuple[dict[str, Any], ...]] = ({}, {}, {"seconds": 0.4}, {"trust": True})
WORKER_RULES: Final[dict[str, Any]] = {
    "rules": [
        {"match": "^poison", "crash": "SIGKILL"},
        {"busy_seconds": 0.1, "reply": "done {body}", "wait_seconds": 0},
    ]
}
SETTINGS: Final[Mapping[str, object]] = {
    "systemd_scope": "false",
    "backoff_seconds": 0.2,
    "backoff_max_seconds": 1,
    "crash_count": 1000,
    "ephemeral_quiet_seconds": 0.3,
    "ephemeral_silence_seconds": 12,
    "human_quiet_seconds": 1,
    "idle_seconds": 20,
    "sends_per_minute": 1_000_000,
    "stop_seconds": 1,
    "tick_seconds": 2,
}
CLI_PAUSE_SECONDS: Final = 1.0
LETTER_SECONDS: Final = 0.5
TASK_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Size:
    """How large a run is: `per_kind` senders on each transport, `rate` messages per second at most, None: no bound."""

    peers: int = 8
    workers: int = 2
    per_kind: int = 2
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Cast:
    """The peers of a run: `recipients` get messages and faults, `posts` are who the senders are.

    Of the `unready` nothing but their mail is seen.
    """

    recipients: list[Peer]
    posts: list[Peer]
    unready: list[Peer]

    @property
    def workers(self) -> list[Peer]:
        return [peer for peer in self.recipients if peer.policy == "ephemeral"]

    @property
    def every(self) -> list[Peer]:
        return [*self.recipients, *self.posts, *self.unready]


def make_cast(world: World, size: Size) -> Cast:
    """Write the settings, for servers that bridges start too, and create the peers."""
    settings = dict(SETTINGS) | {"tcp": "true", "port": world.extra["PEERWAKE_PORT"]}
    world.root.config.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    (world.root.home / "home").mkdir(exist_ok=True)
    warm = [
        _make(world, f"peer{number}", "warm", RULES | {"boot": BOOTS[number % len(BOOTS)]}, has_opening=number % 2 == 1)
        for number in range(size.peers)
    ]
    workers = [
        _make(world, f"worker{number}", "ephemeral", WORKER_RULES, has_opening=number % 2 == 1)
        for number in range(size.workers)
    ]
    posts = [_make(world, f"via-{kind}", "warm", RULES) for kind in (*KINDS, CLI)]
    return Cast([*warm, *workers], posts, make_unready(world))


def _make(world: World, name: str, policy: str, rules: dict[str, Any], *, has_opening: bool = False) -> Peer:
    opening = f"You are {name}, and you do what you are told." if has_opening else None
    flags = ["--ephemeral"] if policy == "ephemeral" else []
    cwd = world.create(name, *flags, *(["--initial-prompt", opening] if opening else []))
    (cwd / "scripted.json").write_text(json.dumps(rules))
    return Peer(name, f"scripted-{name}", policy, cwd, opening)


def make_senders(world: World, cast: Cast, size: Size, seed: int, tally: Tally) -> list[Sender]:
    """Return the senders: some on each MCP transport, one on the command line as a peer and one as the operator."""
    credentials = load_credentials(world.root.secret)
    pause = len(KINDS) * size.per_kind / size.rate if size.rate else 0.0
    senders = []
    for post in cast.posts:
        kind = post.name.removeprefix("via-")
        if kind == CLI:
            continue
        token = credentials.credential_for(parse_identity(post.identity))
        for number in range(size.per_kind):
            name, connection = f"{kind}{number}", Connection(world, kind, token)
            senders.append(
                Sender(
                    name, post.identity, connection, cast.recipients, cast.posts, tally, seed, threading.Event(), pause
                )
            )
    warm = [peer for peer in cast.recipients if peer.policy == "warm"]
    (post,) = [post for post in cast.posts if post.name == f"via-{CLI}"]
    for name, identity, cwd, peers in (
        ("cli0", post.identity, post.cwd, cast.recipients),
        ("operator0", "cli-operator", TOP, warm),
    ):
        line, over = CommandLine(world, cwd), threading.Event()
        senders.append(Sender(name, identity, line, peers, cast.posts, tally, seed, over, CLI_PAUSE_SECONDS))
    name, line, over = "tasks0", CommandLine(world, post.cwd), threading.Event()
    senders.append(TaskWriter(name, post.identity, line, cast.workers, cast.posts, tally, seed, over, TASK_SECONDS))
    name, line, over = "letters0", CommandLine(world, post.cwd), threading.Event()
    return [*senders, LetterWriter(name, post.identity, line, cast.unready, [], tally, seed, over, LETTER_SECONDS)]
