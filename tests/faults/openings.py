"""The rules of what a session is told first: its peer's own text, once, before any message."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from tests.faults.books import Books, Broken, Taken


def _sessions(books: Books) -> dict[tuple[str, str], list[Taken]]:
    """Return what each session took that was no person's, in order."""
    sessions: dict[tuple[str, str], list[Taken]] = defaultdict(list)
    for each in sorted(books.taken, key=lambda each: each.place):
        if each.message_id is not None:
            sessions[each.identity, each.session].append(each)
    return sessions


def _openings(books: Books) -> Iterator[Broken]:
    """What is told first is the text of this peer, comes first, and once."""
    for (identity, session), taken in _sessions(books).items():
        openings = [each for each in taken if each.is_opening]
        for each in openings:
            if each.is_whole and each.digest != books.openings.get(identity):
                yield Broken("another opening", f"{identity} was told first: {each.text[:300]!r}")
        if len(openings) > 1:
            yield Broken("doubled", f"the session {session} of {identity} was told {len(openings)} times what is first")
        if openings and not taken[0].is_opening:
            yield Broken("opening too late", f"the session {session} of {identity} took {taken[0].message_id} before")


def _unopened(books: Books) -> Iterator[Broken]:
    """A session that gets messages was told first, unless that is written down, or nothing could be."""
    without: dict[str, list[str]] = defaultdict(list)
    for (identity, session), taken in _sessions(books).items():
        is_told = any(each.is_opening for each in taken)
        if identity in books.openings and not is_told and not books.seen.was_full(taken[0].at):
            without[identity].append(session)
    for identity, sessions in without.items():
        if len(sessions) > books.seen.untold[identity]:
            what = f"{len(sessions)} sessions without it, {books.seen.untold[identity]} in the log: {sessions[:5]}"
            yield Broken("not told first", f"{identity}: {what}")


OPENINGS: Final = (_openings, _unopened)
