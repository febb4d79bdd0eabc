"""People who leave: what two of them typed into one another, or around a dialog, nobody else can take away."""

import re
from typing import Final

from tests.faults.fault import Field
from tests.faults.injections.grip import grip
from transport.vocabulary import ScreenState

PEOPLE: Final = ("draft", "prompt")
OURS: Final = re.compile(r"<peer-message-[^>]*>.*</peer-message-[0-9a-z]+>", re.DOTALL)


def is_of_people(fault: str) -> bool:
    """Tell whether a fault is a person who types."""
    return fault.startswith(PEOPLE)


def clear_desks(field: Field) -> None:
    """Empty, as the author would, composers with something of a draft in them; a message alone stays.

    A label of a paste may be anybody's: the product does not submit it after somebody was there.
    """
    for peer in field.peers:
        held = grip(field, peer) if field.expects.drafts(peer.identity) else None
        reading = None if held is None else held.reading()
        if held is None or reading is None or reading.state is not ScreenState.DRAFT:
            continue
        text = (reading.input_text or "").strip()
        if text and not OURS.fullmatch(text):
            field.trace(f"desk cleared: {peer.identity}, {text[:60]!r}")
            held.tmux("send-keys", "-t", held.pane, "C-u")
