"""How everything that counts grows: with live sessions, those at work, peers, what waits, what was settled.

Each row is the exponent of a power law through what was measured (0: constant, 1: proportional), of all sizes or of
the last step if that is greater, beside the greatest that is right for it and some slack; what grows faster is a
finding. Not part of a run without names.
"""

from bench import grow_peers, grow_queue, grow_sessions, grow_work
from bench.rows import Row


def run(quick: bool) -> list[Row]:
    """Measure every size one after the other; some minutes, a few GiB of memory for the sessions."""
    seconds, count = (6.0, 10) if quick else (15.0, 30)
    sessions = (1, 5, 20) if quick else (1, 10, 50, 200)
    work = (1, 5) if quick else (1, 5, 20)
    peers = (10, 100, 1_000) if quick else (10, 1_000, 10_000)
    queued = (10, 100, 1_000) if quick else (10, 1_000, 10_000, 50_000)
    kept = (10, 1_000, 10_000) if quick else (10, 1_000, 100_000, 500_000)
    curves = [
        grow_sessions.measure(sessions, seconds=seconds, count=count),
        *grow_work.measure(work, seconds=seconds),
        grow_peers.measure(peers, seconds=seconds, count=count),
        grow_queue.waiting(queued, seconds=seconds, count=count),
        grow_queue.settled(kept, seconds=seconds, count=count),
    ]
    return [row for curve in curves for row in curve.rows()]
