"""Topics: what the messages of one conversation were about."""

from collections.abc import Iterable
from typing import Final

TOPICS_KEPT: Final = 50


def normal(topic: str) -> str:
    """Return a topic as it is compared: without regard to case and spacing."""
    return " ".join(topic.casefold().split())


def with_topic(topics: Iterable[str], topic: str | None) -> tuple[str, ...]:
    """Return the topics of a session after a message; the newest comes last, the oldest of too many goes."""
    known = tuple(topics)
    if topic is None or not topic.strip():
        return known
    return (*(each for each in known if normal(each) != normal(topic)), topic)[-TOPICS_KEPT:]
