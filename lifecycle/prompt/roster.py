"""The registry layer: the peers that matter most to one of them, in at most 4 KiB."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from lifecycle.prompt.facts import quote
from transport.profile import Profile
from transport.vocabulary import Intelligence

ROSTER_BYTES: Final = 4096
RESERVE_BYTES: Final = 256
DESCRIPTION_MAX: Final = 160
CERTAIN: Final = (ROSTER_BYTES - RESERVE_BYTES) // 16
HEADING: Final = "# Peers on this host"


def roster(
    peers: Mapping[str, Profile], own: str, *, contacts: Sequence[str] = (), live: Collection[str] = frozenset()
) -> str:
    """Return the peers as YAML, by name: where not all fit, those written with last, then the live ones,
    then those with a description are shown, and the others are counted. Empty when there are none.
    """
    names = [name for name in peers if name != own]
    if not names:
        return ""
    if not fits(peers, own):
        recent = {name: place for place, name in enumerate(contacts)}
        names.sort(key=lambda name: _rank(peers[name], recent, live))
    shown: list[str] = []
    left = ROSTER_BYTES - RESERVE_BYTES
    for name in names:
        left -= len(row(peers[name]).encode()) + 1
        if left < 0:
            break
        shown.append(name)
    hidden = Counter(peers[name].intelligence for name in set(names) - set(shown))
    lines = [HEADING, "peers:", *(row(peers[name]) for name in sorted(shown)), *_rest(hidden)]
    return "\n".join(lines)


def fits(peers: Mapping[str, Profile], own: str) -> bool:
    """Tell whether all peers can be shown; asks for no more than it must."""
    if len(peers) > CERTAIN:
        return False
    size = sum(len(row(peer).encode()) + 1 for name, peer in peers.items() if name != own)
    return size <= ROSTER_BYTES - RESERVE_BYTES


def row(peer: Profile) -> str:
    """Return one peer in one line of YAML; nothing it says of itself can leave its quotes."""
    pairs = [("name", peer.name), ("runtimes", " ".join(peer.runtimes))]
    if peer.intelligence is not Intelligence.ARTIFICIAL:
        pairs.append(("intelligence", peer.intelligence))
    text = peer.description
    if text:
        pairs.append(("description", text if len(text) <= DESCRIPTION_MAX else f"{text[:DESCRIPTION_MAX].rstrip()}…"))
    return "- {" + ", ".join(f"{key}: {quote(value)}" for key, value in pairs) + "}"


def _rank(peer: Profile, recent: Mapping[str, int], live: Collection[str]) -> tuple[int, int, str]:
    if peer.name in recent:
        return (0, recent[peer.name], peer.name)
    return (1 if peer.name in live else 2 if peer.description else 3, 0, peer.name)


def _rest(hidden: Mapping[Intelligence, int]) -> list[str]:
    count = sum(hidden.values())
    if not count:
        return []
    kinds = ", ".join(f"{hidden[kind]:,} {kind}" for kind in Intelligence if hidden.get(kind))
    return [f"# {count:,} more are not shown ({kinds}); the tool list_peers finds them by name or description"]
