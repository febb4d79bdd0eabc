"""The rules of sessions: a stopped peer takes nothing, and every end has its cause and one line."""

from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import Final

from tests.faults.books import LATE_SECONDS, ROUNDING_SECONDS, Books, Broken, Told
from tests.faults.sightings import Life, Line

CLOSE: Final = "close"
OWN_EXIT: Final = "exit:0"
REFUSED: Final = "exit:1"
NO: Final = "1"
BEGUN_BY: Final = {"stopped": {"stopped", "failed"}, "new": {"new"}, "": {"stopped"}}
"""A client that is coming up is closed, as by a stop, when it may not be woken any more.

What of an unreadable record is left says no more than that it was closed: only a stop does that.
"""


def _stopped(books: Books) -> Iterator[Broken]:
    """A peer whose stop has taken effect takes nothing, and nothing is accepted for who may not be woken."""
    for stop in books.seen.stops:
        for each in books.taken:
            if each.identity == stop.identity and stop.holds(each.at - ROUNDING_SECONDS, each.at + ROUNDING_SECONDS):
                yield Broken("taken while stopped", f"{each.message_id} by {each.identity}")
    for rule, flagged in (("accepted while stopped", books.seen.flagged), ("accepted while failed", books.seen.failed)):
        for span, sent in product(flagged, books.sent):
            is_for_it = (sent.recipient, sent.told) == (span.identity, Told.ACCEPTED)
            if is_for_it and span.holds(sent.began - ROUNDING_SECONDS, sent.ended + ROUNDING_SECONDS):
                yield Broken(rule, f"{sent.message_id} ({sent.mark}) to {sent.recipient}")


def _one_line(books: Books) -> Iterator[Broken]:
    """A death has one line in exits.log; in a long run a pid comes again, and its next server is another."""
    times = Counter((each.identity, each.tmux, each.started) for each in books.seen.lines if each.kind != CLOSE)
    for (identity, tmux, started), count in times.items():
        if count > 1:
            yield Broken("two lines", f"{identity}, tmux server {tmux} ({started}): {count} lines in exits.log")


def _silent(books: Books) -> Iterator[Broken]:
    """A session that is gone has died, or was closed, and that is written down.

    A worker's may be closed and not be written down as such, when the server is killed in that moment.
    """
    told = {(each.identity, each.tmux) for each in books.seen.lines}
    for life in books.seen.lives:
        if life.gone_at is None or books.seen.was_full(life.gone_at) or (life.identity, life.tmux) in told:
            continue
        blow = _blow(books, life)
        if blow is not None or life.identity not in books.ephemeral:
            yield Broken("no line", f"{_named(life)}, {blow or 'struck by nobody'}: nothing is written of its end")


def _causes(books: Books) -> Iterator[Broken]:
    """A session ends by a blow at itself, by its own exit, for idleness, or because of a flag; by nothing else.

    Its own exit is also that of a client that comes up with a question and gets a no from a person who types.
    """
    lives: dict[tuple[str, int], list[Life]] = {}
    for each in books.seen.lives:
        if each.gone_at is not None:
            lives.setdefault((each.identity, each.tmux), []).append(each)
    for line in books.seen.lines:
        gone = lives.get((line.identity, line.tmux))
        if not gone or line.identity in books.ephemeral or line.identity in books.unready:
            continue
        if line.kind == CLOSE:
            if not _is_asked_for(books, line):
                yield Broken("closed for no reason", f"{_named(gone[-1])}: {line.why}")
        elif line.why != OWN_EXIT and not any(_blow(books, life) or _said_no(books, life, line) for life in gone):
            yield Broken("died of nothing", f"{_named(gone[-1])}: {line.kind} by {line.why}")


def _is_asked_for(books: Books, line: Line) -> bool:
    """Tell whether a flag was set that makes the product close a session for this reason."""
    wanted = BEGUN_BY.get(line.why)
    return line.why == "idle" or (
        wanted is not None and bool(wanted & books.seen.flags.get(line.identity, frozenset()))
    )


def _said_no(books: Books, life: Life, line: Line) -> bool:
    """Tell whether somebody there was typing the digit that is the no to what clients ask at their start."""
    return line.why == REFUSED and any(
        NO in each.text and each.began <= (life.gone_at or 0.0) <= each.ended + LATE_SECONDS
        for each in books.sittings.get(life.identity, ())
    )


def _blow(books: Books, life: Life) -> str | None:
    """Return what struck a session's client or its tmux server."""
    return books.seen.blows.get(life.agent) or books.seen.blows.get(life.tmux)


def _named(life: Life) -> str:
    return f"{life.identity}, client {life.agent}, tmux server {life.tmux}"


DEATHS: Final = (_stopped, _one_line, _silent, _causes)
