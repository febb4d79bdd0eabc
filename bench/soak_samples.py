"""What a server holds while it soaks: samples as they come, and what they say of a leak."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.fit import per_one
from bench.idle import ours
from bench.memory import descendants, memory_of, processor_seconds
from bench.rows import Row
from bench.server_cost import bytes_below, held
from bench.terms import at_most, number
from tests.live.control import Control
from tests.live.world import World

EDGE_SECONDS: Final = 60.0
HOUR: Final = 3_600.0
STEADY: Final = at_most(1.25, is_ratio=True)
"""Of what has to be the same at the end as after the warm-up: a leak shows here."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look: sizes in MiB, `processor` in seconds since the start of the server, `at` in seconds of the soak."""

    at: float
    resident: float
    proportional: float
    ours: float
    descriptors: float
    threads: float
    children: float
    connections: float
    spool: float
    logs: float
    panes: float
    processor: float


NAMES: Final = {
    "resident": ("resident memory of the server", "MiB"),
    "proportional": ("proportional memory of the server", "MiB"),
    "ours": ("proportional memory of everything of ours", "MiB"),
    "descriptors": ("descriptors of the server", ""),
    "threads": ("threads of the server", ""),
    "children": ("children of the server", ""),
    "connections": ("connections of the server", ""),
    "spool": ("the spool's files", "MiB"),
    "logs": ("logs", "MiB"),
    "panes": ("pane logs", "MiB"),
}


GROWING: Final = frozenset({"spool", "logs", "panes"})
"""What keeps the past, up to limits of its own."""


def look(world: World, at: float) -> Sample:
    """Look once; raises OSError or AssertionError when the server is not there."""
    (server,) = world.servers
    now, root = held(server.pid), world.root
    with Control(root) as control:
        counts = control.call("status")["result"]["counts"]
    return Sample(
        at=round(at, 1),
        resident=now.resident,
        proportional=now.proportional,
        ours=memory_of(ours(world)).get("Pss", 0.0),
        descriptors=now.descriptors,
        threads=now.threads,
        children=len(descendants(server.pid)) - 1,
        connections=counts["connections"],
        spool=bytes_below(root.state, "spool.db*") / 2**20,
        logs=bytes_below(root.logs, "*.log*") / 2**20,
        panes=bytes_below(root.logs / "panes", "*") / 2**20,
        processor=processor_seconds(server.pid),
    )


def append(path: Path, kind: str, values: object) -> None:
    """Add one line to the file of results, complete when it is there."""
    with path.open("a") as file:
        file.write(json.dumps({kind: values}, ensure_ascii=False) + "\n")


def keep(path: Path, sample: Sample) -> Sample:
    append(path, "sample", asdict(sample))
    return sample


def rows(samples: Sequence[Sample], warm_up: float) -> list[Row]:
    """Return for each quantity its end beside its start after the warm-up, and its slope for an hour."""
    after = [sample for sample in samples if sample.at >= warm_up] or list(samples)
    first = [sample for sample in after if sample.at <= after[0].at + EDGE_SECONDS]
    last = [sample for sample in after if sample.at >= after[-1].at - EDGE_SECONDS]
    found = [_row(name, after, first, last) for name in NAMES]
    used = (after[-1].processor - after[0].processor) / max(after[-1].at - after[0].at, 1e-9)
    return [*found, Row("processor of the server", used * 100, "% of a core")]


def _row(name: str, after: Sequence[Sample], first: Sequence[Sample], last: Sequence[Sample]) -> Row:
    words, unit = NAMES[name]
    start, end = (sum(getattr(sample, name) for sample in each) / len(each) for each in (first, last))
    slope, late = (_slope(each, name) for each in (after, after[len(after) // 2 :]))
    values = [getattr(sample, name) for sample in after]
    shown = f"{number(min(values))} … {number(max(values))} in {len(after)} looks"
    note = f"{slope:+.3g} {unit} an hour, {late:+.3g} in the second half; {shown}"
    bound = None if name in GROWING or not start else STEADY
    return Row(words, end, unit, bound, end / start if start else None, f"{number(start)} after the warm-up", note)


def _slope(samples: Sequence[Sample], name: str) -> float:
    """Return by how much a quantity grows in an hour."""
    return per_one([(sample.at, getattr(sample, name)) for sample in samples]) * HOUR
