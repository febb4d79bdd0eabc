"""A registry of 10,000 peers: from a name to its profile, the first page, and what a change costs."""

from typing import Final

from bench.ground import ground, mcp_caller, median_ms, seconds_of, spread
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
FLOOR: Final = "100 peers"
MCP_PAGE: Final = "first page, list_peers through MCP"
ANSWERS: Final = {"resolve": "registry.resolve", MCP_PAGE: "registry.page"}
BOUNDS: Final[dict[str, Bound | None]] = {"first page": TERMS["registry.page"].bound}


def run(quick: bool) -> list[Row]:
    """Measure with many peers and, as the floor, with few."""
    count = 200 if quick else 2_000
    few, many = (_measure(peers, count) for peers in (100, PEERS))
    rows = []
    for name, seconds in many.items():
        value, ratio, note = median_ms(seconds), median_ms(seconds) / median_ms(few[name]), spread(seconds)
        label = f"{name}, {PEERS:,} peers"
        if name in ANSWERS:
            rows.append(answer(ANSWERS[name], value, name=label, ratio=ratio, of=FLOOR, note=note))
        else:
            rows.append(Row(label, value, "ms", BOUNDS.get(name), ratio, FLOOR, note))
    return rows


def _measure(peers: int, count: int) -> dict[str, list[float]]:
    with ground() as world:
        write(world.root, peers)
        resolver = Resolver(Registry(world.root), Flags(world.root))
        first = seconds_of(lambda: resolver.registry.names())
        names = [f"peer-{number * 7919 % peers}" for number in range(count)]
        times = {
            "resolve": [seconds_of(lambda name=name: _resolve(resolver, name)) for name in names],  # type: ignore[misc]
            "first page": [seconds_of(lambda: resolver.registry.page(None, 0, PAGE)) for _ in range(count)],
            "page of a query": [seconds_of(lambda: resolver.registry.page("9", 0, PAGE)) for _ in range(20)],
            "nearest names": [seconds_of(lambda: resolver.registry.nearest("pear-77")) for _ in range(20)],
            "reading it after a start": [first],
        }
        world.serve()
        with mcp_caller(world) as caller:
            assert caller.call("list_peers")["total"] == peers
            asked = [seconds_of(lambda: caller.call("list_peers")) for _ in range(count // 10)]
        return times | {MCP_PAGE: asked}


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
