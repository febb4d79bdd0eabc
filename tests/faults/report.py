"""The summary of a run: figures, faults by kind, every broken rule, and the command that repeats it."""

from collections import Counter
from typing import Final

from tests.faults.books import Told
from tests.faults.machine import Outcome

SHOWN: Final = 15
ENTER: Final = "\r"
FIGURES: Final = ("attempts", "cuts", "repeats")


def summary(outcome: Outcome, command: str) -> str:
    """Return the text that ends a run; it is also written into the root."""
    books = outcome.books
    told = Counter(each.told for each in books.sent)
    untaken = sum(each.recipient in books.unready for each in books.accepted)
    consumed, early = len(books.consumed()), books.in_flight
    attempts, cuts, repeats = (sum(getattr(each, name) for each in outcome.senders) for name in FIGURES)
    drafts = [(identity, each) for identity, sittings in books.sittings.items() for each in sittings]
    given = [each for each in books.taken if each.identity in books.ephemeral and not each.is_opening]
    tasks = [each for each in given if each.message_id]
    judged = [identity for identity, each in drafts if each.is_judged]
    unsure = books.unsure()
    lines = [
        f"sent for {outcome.seconds:.0f} s, drained in {outcome.drain_seconds:.0f} s,"
        f" {outcome.servers} servers started",
        f"accepted {told[Told.ACCEPTED]}, consumed {consumed} ({consumed / outcome.seconds:.1f}/s),"
        f" given up {len(books.given_up())} ({untaken} of peers that take nothing, {len(books.notices)} notices),"
        f" refused {told[Told.REFUSED]}, never told {told[Told.UNKNOWN]}",
        f"given up as perhaps taken {len(unsure)}, {len(unsure & books.consumed())} of these consumed",
        f"workers took {len({each.message_id for each in tasks})} tasks in {len({each.session for each in tasks})}"
        " sessions",
        f"typed when a screen had just come up: {len(early)} times,"
        f" {sum(ENTER in each.keys for each in early)} with Enter",
        f"told something first {sum(each.is_opening for each in books.taken)} sessions,"
        f" {sum(books.seen.untold.values())} have not taken it according to the log",
        f"sessions seen {len(books.seen.lives)}, ended {sum(each.gone_at is not None for each in books.seen.lives)};"
        f" stops that took effect {len(books.seen.stops)}, flags of crash loops {len(books.seen.failed)};"
        f" drafts {len(drafts)}, {sum(each.was_seen for _, each in drafts)} of them seen,"
        f" {len(judged)} judged, {sum(identity in books.posts for identity in judged)} of these at a sender's own peer",
        f"attempts {attempts}, connections cut {cuts}, sent again on purpose {repeats}",
        f"faults {sum(outcome.scores.struck.values())}:",
        *outcome.scores.lines(),
    ]
    if outcome.broken:
        kinds = Counter(each.rule for each in outcome.broken)
        lines.append(f"BROKEN: {', '.join(f'{rule} {count} times' for rule, count in kinds.items())}")
        for rule in kinds:
            lines += [f"  {rule}: {each.text}" for each in [it for it in outcome.broken if it.rule == rule][:SHOWN]]
        lines += [f"the root is kept: {outcome.home}", f"again with: {command}"]
    else:
        lines.append("every book balances")
    text = "\n".join(lines)
    (outcome.home / "summary.txt").write_text(text + "\n")
    return text
