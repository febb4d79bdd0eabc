"""What became of messages, read from the recipient's own transcript."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bench.rows import Row, answer
from bench.terms import TERMS, ZERO

COUNTS: Final = {"lost": "lost", "doubled": "delivered twice", "reordered": "out of order", "merged": "merged"}
OPENING: Final = re.compile(r'<peer-message-([0-9a-z]+) id="(m_[0-9a-z]{20})"')


@dataclass(frozen=True, slots=True)
class Ledger:
    """Counts over what was accepted, in its order, and what the recipient took as prompts."""

    lost: int
    doubled: int
    reordered: int
    merged: int

    def rows(self, what: str, prefix: str = "", *, note: str = "") -> list[Row]:
        """Return a row for each count, each bound to be 0; it answers the term `prefix.count` where there is one."""
        rows = []
        for name, words in COUNTS.items():
            count, key = getattr(self, name), f"{prefix}.{name}"
            label = f"{what}: {words}"
            rows.append(
                answer(key, count, name=label, note=note) if key in TERMS else Row(label, count, "", ZERO, note=note)
            )
        return rows

    def __add__(self, other: "Ledger") -> "Ledger":
        return Ledger(
            self.lost + other.lost,
            self.doubled + other.doubled,
            self.reordered + other.reordered,
            self.merged + other.merged,
        )


def ids(prompt: str) -> list[str]:
    """Return the ids of all messages whose envelope begins in a prompt."""
    return [message_id for _, message_id in OPENING.findall(prompt)]


def audit(accepted: Sequence[str], prompts: Sequence[str]) -> Ledger:
    """Compare the ids of accepted messages with the prompts that hold them; other prompts are ignored."""
    place = {message_id: number for number, message_id in enumerate(accepted)}
    mine = [found for prompt in prompts if (found := [each for each in ids(prompt) if each in place])]
    taken = [message_id for found in mine for message_id in found]
    times = Counter(taken)
    order = [place[message_id] for message_id in taken]
    return Ledger(
        lost=len(place.keys() - times.keys()),
        doubled=sum(count - 1 for count in times.values()),
        reordered=sum(after < before for before, after in pairwise(order)),
        merged=sum(_is_merged(prompt) for prompt in prompts if set(ids(prompt)) & place.keys()),
    )


def _is_merged(prompt: str) -> bool:
    """A prompt is one whole envelope and nothing else."""
    found = OPENING.match(prompt)
    return found is None or len(ids(prompt)) != 1 or not prompt.endswith(f"</peer-message-{found[1]}>")
