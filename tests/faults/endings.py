"""The rules of ends: every message in exactly one of two ways, a worker's task with its reply or with a notice."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from tests.faults.books import ROUNDING_SECONDS, Books, Broken, Taken, Told


def _lost(books: Books) -> Iterator[Broken]:
    """A message that was accepted is consumed, and a task answered, or its sender has a notice."""
    times: dict[str | None, int] = defaultdict(int)
    for took in books.taken:
        times[took.message_id] += 1
    for each in books.open():
        end = "answered" if each.recipient in books.ephemeral else "consumed"
        what = f"{each.message_id} ({each.mark}) to {each.recipient}, taken {times[each.message_id]} times"
        yield Broken("lost", f"{what}: neither {end} nor given up")


def _both(books: Books) -> Iterator[Broken]:
    """A message ends in one of the two ways; a worker's poisoned task was taken before it was given up.

    A notice may also say that nobody can know: where a session's record is lost, and with it the way to its transcript.
    """
    workers = {each.message_id for each in books.sent if each.recipient in books.ephemeral}
    for message_id in sorted(books.consumed() & books.given_up() - workers - books.unsure()):
        yield Broken("consumed and given up", message_id)
    # A reply of which nobody told the worker may have come after the task was given up.
    replied = {each.task for each in books.replies if each.told is Told.ACCEPTED and each.task is not None}
    for message_id in sorted(replied & books.given_up()):
        yield Broken("answered and given up", message_id)


def _notices(books: Books) -> Iterator[Broken]:
    """A message has one notice at most, which goes to its sender and names it."""
    senders = {each.message_id: each.sender for each in books.sent if each.message_id is not None}
    notices: dict[str, set[str | None]] = defaultdict(set)
    for each in books.notices:
        if not each.notice_of:
            yield Broken("notice of nothing", f"{each.message_id} to {each.identity}: {each.text[:300]!r}")
            continue
        notices[each.notice_of].add(each.message_id)
        if senders.get(each.notice_of, each.identity) != each.identity:
            sender = senders[each.notice_of]
            yield Broken("notice astray", f"{each.identity} was told of {each.notice_of}, which {sender} had sent")
    for message_id, ids in notices.items():
        if len(ids) > 1:
            yield Broken("two notices", f"{message_id} was given up in {', '.join(sorted(map(str, ids)))}")


def _unready(books: Books) -> Iterator[Broken]:
    """Who never becomes ready takes nothing."""
    for each in books.taken:
        if each.identity in books.unready:
            yield Broken("taken by nobody", f"{each.message_id} by {each.identity}: {each.text[:200]!r}")


def _tasks(books: Books) -> Iterator[Broken]:
    """A worker's session has one task; a task is taken again only after a worker that did not reply."""
    replied = {reply.session: reply.at for reply in books.replies if reply.told is Told.ACCEPTED}
    sessions: dict[str, set[str | None]] = defaultdict(set)
    takes: dict[str, list[Taken]] = defaultdict(list)
    for each in books.taken:
        if each.identity in books.ephemeral and each.message_id is not None and not each.is_opening:
            sessions[each.session].add(each.message_id)
            takes[each.message_id].append(each)
    for session, ids in sessions.items():
        if len(ids) > 1:
            yield Broken(
                "merged", f"the worker's session {session} was given {len(ids)} tasks: {sorted(map(str, ids))}"
            )
    for message_id, mine in takes.items():
        mine.sort(key=lambda each: each.place)
        for before, after in pairwise(mine):
            if before.session == after.session or replied.get(before.session, after.at) < after.at - ROUNDING_SECONDS:
                yield Broken("doubled", f"task {message_id} was taken again by {after.identity} after its reply")


ENDINGS: Final = (_lost, _both, _notices, _unready, _tasks)
