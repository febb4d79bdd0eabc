"""The rules of messages, each named by what breaks it; those of ends, keys and sessions stand beside this file."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.faults.books import ROUNDING_SECONDS, Books, Broken, Sent, Taken, Told
from tests.faults.deaths import DEATHS
from tests.faults.endings import ENDINGS
from tests.faults.in_flight import IN_FLIGHT
from tests.faults.openings import OPENINGS


def audit(books: Books) -> list[Broken]:
    """Return every broken rule, each with the ids of its messages."""
    rules = (_strays, _envelopes, _matches, _doubled, _order, _premature, _unanswered, _pressed, _drafts_gone)
    return [broken for rule in (*ENDINGS, *rules, *IN_FLIGHT, *DEATHS, *OPENINGS) for broken in rule(books)]


def _strays(books: Books) -> Iterator[Broken]:
    """No draft in a prompt; no prompt that is no envelope but what a person submitted, each once."""
    left = {identity: Counter(texts) for identity, texts in books.typed.items()}
    for each in books.taken:
        yield from _drafts_in(each, books.drafts.get(each.identity, ()))
        if each.message_id is None:
            typed = left.get(each.identity, Counter())
            if typed[each.text] > 0:
                typed[each.text] -= 1
            else:
                yield Broken("stray", f"{each.identity} was given a prompt that nobody sent: {each.text[:200]!r}")


def _drafts_in(each: Taken, drafts: Sequence[str]) -> Iterator[Broken]:
    for draft in drafts:
        if draft and draft in each.text:
            yield Broken("draft submitted", f"{each.identity}: the draft {draft[:80]!r} is in {each.text[:200]!r}")


def _envelopes(books: Books) -> Iterator[Broken]:
    for each in books.taken:
        if each.message_id is not None and not each.is_whole:
            yield Broken(
                "merged", f"{each.message_id} to {each.identity} is not one whole envelope: {each.text[:300]!r}"
            )


def _matches(books: Books) -> Iterator[Broken]:
    """What is taken was sent: to this one, by that one, with this body, and not refused."""
    by_id = {each.message_id: each for each in books.sent if each.message_id is not None}
    by_digest = {each.digest: each for each in books.sent}
    for each in books.taken:
        if each.message_id is None or each.is_ours or not each.is_whole:
            continue
        sent = by_id.get(each.message_id) or by_digest.get(each.digest)
        if sent is None:
            yield Broken(
                "from nowhere", f"{each.message_id} to {each.identity} was sent by nobody: {each.text[:200]!r}"
            )
            continue
        yield from _differences(each, sent)


def _differences(each: Taken, sent: Sent) -> Iterator[Broken]:
    what = f"{each.message_id} ({sent.mark})"
    if sent.told is Told.REFUSED:
        yield Broken("refused, but delivered", f"{what} to {each.identity}: the sender was told {sent.note[:200]!r}")
    if sent.message_id not in (None, each.message_id):
        yield Broken("second message", f"{what}: its sender was told of {sent.message_id} for the same key")
    if sent.recipient != each.identity:
        yield Broken("misplaced", f"{what} for {sent.recipient} was taken by {each.identity}")
    if sent.sender.partition("-")[2] != each.sender:
        yield Broken("misattributed", f"{what} from {sent.sender} was signed {each.sender}")
    if sent.digest != each.digest:
        yield Broken("altered", f"{what} to {each.identity} has another body: {each.text[:300]!r}")


def _doubled(books: Books) -> Iterator[Broken]:
    times = Counter((each.identity, each.message_id) for each in books.taken if each.identity not in books.ephemeral)
    for (identity, message_id), count in times.items():
        if message_id is not None and count > 1:
            yield Broken("doubled", f"{message_id} was taken {count} times by {identity}")
    by_digest: dict[str, set[str]] = defaultdict(set)
    for each in books.taken:
        if each.message_id is not None and not each.is_ours and each.is_whole:
            by_digest[each.digest].add(each.message_id)
    # A worker that takes its task again may reply again, in the same words.
    again = {each.digest for each in books.sent if each.sender in books.ephemeral}
    for digest, ids in by_digest.items():
        if len(ids) > 1 and digest not in again:
            yield Broken("doubled", f"one send became {', '.join(sorted(ids))}")


def _order(books: Books) -> Iterator[Broken]:
    """Of two messages to one identity the one that was accepted before the other was even sent is taken first."""
    sent = {each.message_id: each for each in books.accepted}
    rows: dict[str, list[Taken]] = defaultdict(list)
    for each in sorted(books.taken, key=lambda each: each.place):
        rows[each.identity].append(each)
    for identity, row in rows.items():
        latest: Sent | None = None
        seen: set[str] = set()
        for each in row:
            mine = sent.get(each.message_id)
            if mine is None or each.message_id is None or each.message_id in seen:
                continue
            seen.add(each.message_id)
            if latest is not None and mine.ended + ROUNDING_SECONDS < latest.began:
                text = f"{identity} took {latest.message_id} ({latest.mark}) before {mine.message_id} ({mine.mark})"
                yield Broken("reordered", text)
            if latest is None or mine.began > latest.began:
                latest = mine


def _premature(books: Books) -> Iterator[Broken]:
    """`delivered` was said only of what stood in the transcript by then."""
    first: dict[str | None, float] = {}
    for each in books.taken:
        first[each.message_id] = min(each.at, first.get(each.message_id, each.at))
    for sent in books.accepted:
        if sent.delivered and first.get(sent.message_id, float("inf")) > sent.ended + ROUNDING_SECONDS:
            yield Broken("delivered without a receipt", f"{sent.message_id} ({sent.mark}) to {sent.recipient}")


def _unanswered(books: Books) -> Iterator[Broken]:
    for each in books.sent:
        if each.told is Told.UNKNOWN and not each.mark.startswith("relay"):
            yield Broken("unanswered", f"{each.mark} of {each.sender} to {each.recipient}: {each.note[:300]}")


def _pressed(books: Books) -> Iterator[Broken]:
    """What people type goes where they are, a few characters at a time; nothing else may be typed there."""
    for each in books.pressed:
        if not books.is_of_a_typist(each):
            yield Broken("typed where it must not be", f"{each.identity}: {each.what[:300]}")


def _drafts_gone(books: Books) -> Iterator[Broken]:
    """What a person has typed stands there until they take it away themselves."""
    for identity, sittings in books.sittings.items():
        for each in sittings:
            if each.gone is not None:
                yield Broken("draft gone", f"{identity}: {each.text!r} was taken away; the input line: {each.gone!r}")
