"""The rules of keys that were under way when a screen came up: nobody who typed them could see it yet.

What may be under way: the rest of a paste that the screen cut off, or a whole paste; Enter, if a message or what a
person submits stood in the input line whole; what people type, and the key with which the machine clears a desk.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from tests.faults.books import NOTICE, Books, Broken, Pressed
from tests.faults.transcripts import is_envelope

ENTER: Final = "\r"
CLEAR: Final = "\x15"
BEGIN: Final = "\x1b[200~"
END: Final = "\x1b[201~"
RESTS: Final = tuple(END[cut:] for cut in range(1, len(END)))
UNREADABLE: Final = "\ufffd"
LEAST_CHARS: Final = 20


def _entered(books: Books) -> Iterator[Broken]:
    """Enter is pressed only behind a text that stood there whole: a message, or what a person submits.

    An agent that cannot write down what it took, as on a full disk, is asked once more.
    """
    for each in books.in_flight:
        text = each.over.rstrip()
        is_due = is_envelope(text) or text in books.typed.get(each.identity, ())
        if ENTER in each.keys and not is_due and not books.seen.was_full(each.at):
            what = f"{each.keys[-80:]!r}, and in the input line stood {text[:200]!r}"
            yield Broken("Enter unverified", f"{each.identity}: {what}")


def _strange(books: Books) -> Iterator[Broken]:
    """All else is a part of a paste of a message that this one took later, or typed by people.

    What was given up before anybody took it is known to nobody: who was to get such a message is not judged, nor is
    who has not taken what is told first.
    """
    untaken = _untaken(books)
    for each in books.in_flight:
        if each.identity in untaken:
            continue
        texts = [f"{BEGIN}{took.text}{END}" for took in books.taken if took.identity == each.identity and took.is_whole]
        for piece in _pieces(each.keys):
            if not (_is_part(piece, texts) or _is_of_people(each, piece, books)):
                yield Broken("typed by nobody", f"{each.identity}: {piece[:200]!r} in {each.what[:300]}")


def _untaken(books: Books) -> set[str]:
    """Return who was to get something that was given up and that nobody took."""
    untold = {identity for identity, count in books.seen.untold.items() if count}
    left = books.given_up() - books.consumed()
    named = [NOTICE.search(each.text) for each in books.notices if each.notice_of in left]
    return (
        untold
        | {each.recipient for each in books.sent if each.message_id in left}
        | {f"{found[3]}-{found[2]}" for found in named if found is not None}
    )


def _pieces(keys: str) -> Iterator[str]:
    """Yield what was pasted, each with its marks, and what was typed before, between and behind."""
    *ended, last = keys.removeprefix(next((rest for rest in RESTS if keys.startswith(rest)), "")).split(END)
    for part in ended:
        typed, mark, pasted = part.rpartition(BEGIN)
        yield from filter(None, (typed, f"{mark}{pasted}{END}"))
    if last:
        yield last


def _is_part(piece: str, texts: list[str]) -> bool:
    """Tell whether a piece is a contiguous part of one of these pastes, and long enough to be no key of a person.

    A character may be cut at its beginning.
    """
    bare = piece.lstrip(UNREADABLE)
    return (END in bare or len(bare) >= LEAST_CHARS) and any(bare in text for text in texts)


def _is_of_people(each: Pressed, piece: str, books: Books) -> bool:
    """Tell whether people typed this; whether Enter was due is the other rule's affair."""
    left = piece.replace(ENTER, "")
    if books.drafts.get(each.identity):
        left = left.replace(CLEAR, "")
    return not left or books.is_of_a_typist(replace(each, keys=left))


IN_FLIGHT: Final = (_entered, _strange)
