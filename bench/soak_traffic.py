"""The traffic of a soak: senders at a steady rate, each on a way of its own, that remember what they were told."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from bench.callers import Caller
from bench.ground import mcp_caller
from mcp_server.serve.credentials import load_credentials
from tests.contract.wires import HttpWire, bridge_wire, tcp
from tests.live.control import Control
from tests.live.world import World

BODY: Final = "x" * 200
WARM: Final = ("alice", "bob", "carol")
ECHO: Final = "echo"
SELDOM: Final = ("sleeper0", "sleeper1", "sleeper2")
WORKER: Final = "worker"
RULES: Final[dict[str, list[dict[str, Any]]]] = {
    **{key: [] for key in (*WARM, *SELDOM)},
    ECHO: [{"reply": "heard {id}"}],
    WORKER: [{"reply": "done {id}"}],
}
SEED: Final = 1
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as its sender saw it: `at` is seconds of the soak, `seconds` how long the answer took."""

    way: str
    at: float
    seconds: float
    status: str
    message_id: str


@dataclass(slots=True)
class Book:
    """What all senders were told; failures are counted by their text."""

    began: float = field(default_factory=time.monotonic)
    sent: list[Sent] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, sent: Sent) -> None:
        with self.lock:
            self.sent.append(sent)

    def fail(self, way: str, error: Exception) -> None:
        text = f"{way}: {type(error).__name__}: {error}"[:200]
        with self.lock:
            self.failures[text] = self.failures.get(text, 0) + 1


@dataclass(frozen=True, slots=True)
class Way:
    """One sender: it sends every `seconds` to one of `names` after the other."""

    name: str
    seconds: float
    names: Sequence[str]
    open: Callable[[World, ExitStack], Callable[[str], Result]]


def run_way(way: Way, world: World, book: Book, stop: threading.Event) -> None:
    """Send until told to stop, at moments of its own clock; opens its connection again when that breaks."""
    due, number, dice = time.monotonic(), 0, random.Random(f"{SEED}{way.name}")
    while not stop.is_set():
        try:
            with ExitStack() as stack:
                send = way.open(world, stack)
                while not stop.is_set():
                    due = max(due + way.seconds * dice.uniform(0.8, 1.2), time.monotonic())
                    if stop.wait(due - time.monotonic()):
                        return
                    _send_one(way, send, way.names[number % len(way.names)], book)
                    number += 1
        except Exception as error:
            book.fail(way.name, error)
            stop.wait(1.0)


def _send_one(way: Way, send: Callable[[str], Result], name: str, book: Book) -> None:
    began = time.monotonic()
    result = send(name)
    now = time.monotonic()
    book.note(Sent(way.name, now - book.began, now - began, str(result["status"]), str(result["message_id"])))


def _by_mcp(world: World, stack: ExitStack) -> Callable[[str], Result]:
    caller: Caller = stack.enter_context(mcp_caller(world))
    return lambda name: caller.call("send_to_peer", personality=name, message=BODY)


def _by_http(world: World, stack: ExitStack) -> Callable[[str], Result]:
    wire = stack.enter_context(HttpWire(tcp(world), _token(world)).initialize())
    return lambda name: wire.send(personality=name, message=BODY)


def _by_bridge(world: World, stack: ExitStack) -> Callable[[str], Result]:
    wire = stack.enter_context(bridge_wire(world, _token(world)).initialize())
    return lambda name: wire.send(personality=name, message=BODY)


def _by_control(world: World, stack: ExitStack) -> Callable[[str], Result]:
    control = stack.enter_context(Control(world.root))
    return lambda name: control.send(name, BODY, wait_seconds=60)


def _for_alice(world: World, stack: ExitStack) -> Callable[[str], Result]:
    """What is answered, by an agent through its bridge, goes to alice."""
    control = stack.enter_context(Control(world.root))
    return lambda name: control.send(name, BODY, wait_seconds=0, **{"from": "alice"})


def _by_command(world: World, stack: ExitStack) -> Callable[[str], Result]:
    return lambda name: world.send(name, BODY)


def _token(world: World) -> str:
    return load_credentials(world.root.secret).operator_credential()


def ways(seldom_seconds: float) -> list[Way]:
    """Return the senders: about five messages a second, most of them through MCP to warm peers."""
    return [
        Way("mcp", 0.4, WARM, _by_mcp),
        Way("http", 1.0, WARM, _by_http),
        Way("bridge", 1.0, WARM, _by_bridge),
        Way("echo", 2.5, (ECHO,), _for_alice),
        Way("command", 15.0, WARM, _by_command),
        Way("worker", 10.0, (WORKER,), _for_alice),
        Way("wake", seldom_seconds / len(SELDOM), SELDOM, _by_control),
    ]
