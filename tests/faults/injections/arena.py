"""A small world in which one fault strikes again and again while messages go to one peer."""

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from bench.ledger import OPENING, audit
from tests.faults.books import Books
from tests.faults.desks import clear_desks
from tests.faults.fault import Fault, Field, Peer
from tests.faults.in_flight import IN_FLIGHT
from tests.faults.injections.grip import Grip, grip
from tests.faults.injections.sabotage import sabotage_bridges, sabotaged
from tests.faults.transcripts import Transcripts
from tests.live.control import Control
from tests.live.world import World, until
from transport.paths import Root

SETTINGS = {
    "tcp": "false",
    "systemd_scope": "false",
    "backoff_seconds": 0.2,
    "backoff_max_seconds": 1,
    "crash_count": 1000,
    "human_quiet_seconds": 1,
    "tick_seconds": 1,
}
STRAY = ("key", "answer")
DESK_SECONDS = 5.0


@dataclass
class Arena:
    """One server and the warm peer alice; `accepted` are the ids of what was sent to her, in that order."""

    world: World
    field: Field
    accepted: list[str] = field(default_factory=list)
    traced: list[str] = field(default_factory=list)
    refusals: list[tuple[str, str]] = field(default_factory=list)

    @property
    def alice(self) -> Grip:
        found = grip(self.field, self.field.peers[0])
        assert found is not None, "alice has no session"
        return found

    def send(self, body: str, wait: float = 0) -> dict[str, Any]:
        """Send one message to alice and return its result, or the error; what stays uncertain is sent again."""
        key = f"key {time.monotonic_ns()}"
        with Control(self.world.root) as control:
            while True:
                arguments = {"personality": "alice", "message": body, "wait_seconds": wait, "idempotency_key": key}
                answer = control.call("send", **arguments)
                if answer["ok"]:
                    self.accepted.append(answer["result"]["message_id"])
                    return dict(answer["result"])
                self.refusals.append((body, answer["error"]["code"]))
                if answer["error"]["code"] != "spool-uncertain":
                    return dict(answer["error"])

    def strike(self, fault: Fault, random: Random, bodies: int = 3) -> bool:
        """Send while a fault strikes and until it is healed; False when there was nothing to strike."""
        self.send(f"before {random.random()}")
        heal = fault.strike(self.field, random)
        for number in range(bodies):
            self.send(f"during {number} " + "x " * random.choice((1, 30, 300, 6000)))
            time.sleep(random.random() * 0.2)
        if heal is not None:
            heal()
        self.send("after")
        return heal is not None

    def records(self, *kinds: str) -> list[dict[str, Any]]:
        """Return the records of some kinds in alice's transcripts."""
        return [record for record in self.world.transcript("alice") if record["type"] in kinds]

    def taken(self) -> list[str]:
        """Return the ids of the messages that alice took, in that order."""
        return [found for text in self.world.prompts("alice") for _, found in OPENING.findall(text)]

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until everything is consumed, and check that nothing is wrong; a person looks in now and then."""
        desk_at = time.monotonic() + DESK_SECONDS

        def is_all_taken() -> bool:
            nonlocal desk_at
            if time.monotonic() >= desk_at:
                clear_desks(self.field)
                desk_at = time.monotonic() + DESK_SECONDS
            return set(self.accepted) <= set(self.taken())

        try:
            until(is_all_taken, seconds, "the deliveries")
            until(lambda: self.world.depth("alice") == 0, 20, "an empty queue")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from None
        self.check()

    def check(self) -> None:
        """Fail for what is lost, doubled, reordered, merged, typed where it must not be, or a draft submitted."""
        prompts = self.world.prompts("alice")
        books = audit(self.accepted, prompts)
        assert (books.lost, books.doubled, books.reordered, books.merged) == (0, 0, 0, 0), f"{books}\n{self.told()}"
        taken = set(self.taken())
        assert taken <= set(self.accepted), f"nobody was told of {taken - set(self.accepted)}\n{self.told()}"
        assert self.records(*STRAY) == [], self.told()
        under_way = self.books()
        assert [broken for rule in IN_FLIGHT for broken in rule(under_way)] == [], self.told()
        for draft in self.field.expects.drafts("scripted-alice"):
            assert not [text for text in prompts if draft in text], self.told()
        others = [text for text in prompts if not OPENING.search(text)]
        assert sorted(others) == sorted(self.field.expects.prompts("scripted-alice")), self.told()

    def books(self) -> Books:
        """Return what alice and the people at her terminal wrote down."""
        read, expects = Transcripts(self.field.peers), self.field.expects
        read.finish()
        return Books(
            taken=read.taken,
            in_flight=read.in_flight,
            drafts={"scripted-alice": expects.drafts("scripted-alice")},
            typed={"scripted-alice": expects.prompts("scripted-alice")},
            sittings={"scripted-alice": expects.sittings("scripted-alice")},
        )

    def told(self) -> str:
        """Return everything that helps to understand a failure."""
        found = grip(self.field, self.field.peers[0])
        screen = None if found is None else found.tmux("capture-pane", "-p", "-t", found.pane)
        why = self.world.run("why", "alice").stdout
        strange = [record for record in self.world.transcript("alice") if record["type"] not in ("user", "assistant")]
        logs = "\n".join(self.world.log(name)[-6000:] for name in ("delivery", "lifecycle", "server"))
        return "\n".join([*self.traced, str(self.refusals), json.dumps(strange)[-4000:], str(screen), why, logs])


@contextmanager
def arena(
    *, is_sabotaged: bool = False, is_bridged: bool = False, home: Path | None = None, **settings: object
) -> Iterator[Arena]:
    """Build the world in a directory of its own or the given one, wake alice, and take it all down in the end.

    `is_bridged`: her agent has a bridge, which starts a server where there is none.
    """
    place, home = home, home or Path(tempfile.mkdtemp(prefix="pw-", dir="/tmp"))
    root = Root(home)
    root.prepare()
    world = World(root)
    root.config.write_text("".join(f"{name} = {value}\n" for name, value in (SETTINGS | settings).items()))
    with ExitStack() as stack:
        if place is None:
            stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(world.close)
        cwd = world.create("alice", *([] if is_bridged else ["--no-client-config"]))
        if is_sabotaged:
            stack.enter_context(sabotaged(world))
            sabotage_bridges(world, cwd)
        traced: list[str] = []
        built = Arena(world, Field(world, [Peer("alice", "scripted-alice", "warm", cwd)], traced.append), traced=traced)
        server = world.start_server()
        until(lambda: world.server_pid() == server.pid, 90, "the start of the server")
        assert built.send("hello", 60)["status"] == "delivered"
        yield built
