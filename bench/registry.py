"""A registry of 10,000 peers: from a name to its profile, the first page, and what a change costs."""

import json
from collections.abc import Callable
from typing import Final

from bench.ground import ground, mcp_caller, median_ms, seconds_of, spread
from bench.physical import ROUND_TRIP, round_trips, times
from bench.rows import Row, answer
from bench.terms import TERMS, Bound
from lifecycle.flags import Flags
from lifecycle.resolve import Resolver
from transport.paths import Root
from transport.profile import Profile, host, make_profile, tenant
from transport.registry import Registry
from transport.snapshot import snapshot_from

PEERS: Final = 10_000
PAGE: Final = 25
LOOK_UP: Final = "one look into a dict + one stat of peers.json"
PASS: Final = "one look at each name of a list"
READING: Final = "peers.json read and parsed"
MCP_PAGE: Final = "first page, list_peers through MCP"
ANSWERS: Final = {"resolve": "registry.resolve", MCP_PAGE: "registry.page"}
BOUNDS: Final[dict[str, Bound | None]] = {"first page": TERMS["registry.page"].bound}
FLOORS: Final = {
    "resolve": LOOK_UP,
    "first page": LOOK_UP,
    "page of a query": PASS,
    "nearest names": PASS,
    "reading it after a start": READING,
    MCP_PAGE: ROUND_TRIP,
}
"""What each figure stands on: measured with the same peers, in the same run."""
Times = dict[str, list[float]]


def run(quick: bool) -> list[Row]:
    """Measure with many peers, beside the floor of each figure, and with few."""
    count = 200 if quick else 2_000
    (few, _), (many, floors) = (_measure(peers, count) for peers in (100, PEERS))
    return [_row(name, seconds, few[name], floors[FLOORS[name]]) for name, seconds in many.items()]


def _row(name: str, seconds: list[float], few: list[float], floor: list[float]) -> Row:
    value, of, label = median_ms(seconds), FLOORS[name], f"{name}, {PEERS:,} peers"
    note = f"{spread(seconds)}; {value / median_ms(few):.3g} × that of 100 peers"
    ratio = value / median_ms(floor)
    if name in ANSWERS:
        return answer(ANSWERS[name], value, name=label, ratio=ratio, of=of, note=note)
    return Row(label, value, "ms", BOUNDS.get(name), ratio, of, note)


def _measure(peers: int, count: int) -> tuple[Times, Times]:
    """Return the figures and the floors under them, each as seconds."""
    with ground() as world:
        write(world.root, peers)
        resolver = Resolver(Registry(world.root), Flags(world.root))
        first = seconds_of(lambda: resolver.registry.names())
        floors = _floors(world.root, peers, count)
        names = [f"peer-{number * 7919 % peers}" for number in range(count)]
        found = {
            "resolve": [seconds_of(lambda name=name: _resolve(resolver, name)) for name in names],  # type: ignore[misc]
            "first page": times(lambda: resolver.registry.page(None, 0, PAGE), count),
            "page of a query": times(lambda: resolver.registry.page("9", 0, PAGE), 20),
            "nearest names": times(lambda: resolver.registry.nearest("pear-77"), 20),
            "reading it after a start": [first],
        }
        world.serve()
        with mcp_caller(world) as caller:
            assert caller.call("list_peers")["total"] == peers
            found[MCP_PAGE] = times(lambda: caller.call("list_peers"), count // 10)
            floors[ROUND_TRIP] = round_trips(count)
        return found, floors


def _floors(root: Root, peers: int, count: int) -> Times:
    known = {f"peer-{number}": number for number in range(peers)}
    names = list(known)
    actions: dict[str, tuple[Callable[[], object], int]] = {
        LOOK_UP: (lambda: (known["peer-77"], root.registry.stat()), count),
        PASS: (lambda: [name for name in names if "9" in name], 20),
        READING: (lambda: json.loads(root.registry.read_bytes()), 3),
    }
    return {name: times(action, often) for name, (action, often) in actions.items()}


def _resolve(resolver: Resolver, name: str) -> None:
    _, identity = resolver.identity(name, None)
    resolver.refuse_unwakeable(identity)


def write(root: Root, peers: int) -> None:
    """Write a registry without the directories of its peers."""
    root.registry.write_bytes(snapshot_from(_profile(root, number) for number in range(peers)).encode())


def _profile(root: Root, number: int) -> Profile:
    return make_profile(
        name=f"peer-{number}",
        cwd=root.peers / f"peer-{number}",
        runtimes=("scripted",),
        default_runtime="scripted",
        description=f"looks after part {number} of everything",
        host=host(),
        tenant_id=tenant(),
        created_at="2026-01-01T00:00:00+00:00",
    )
