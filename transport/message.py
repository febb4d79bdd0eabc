"""What a sender may say (`Draft`, checked) and what was accepted (`Message`)."""

import os
import re
import secrets
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from transport.errors import InvalidInput
from transport.identity import Identity
from transport.vocabulary import Kind

MAX_BODY_BYTES: Final = 256 * 1024
MAX_PLAIN: Final = MAX_BODY_BYTES // 4
MAX_TOPIC: Final = 200
MAX_ATTACHMENTS: Final = 20
MAX_KEY: Final = 200
CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"
MESSAGE_ID: Final = re.compile(rf"m_[{CROCKFORD}]{{20}}")
NONCE: Final = re.compile(rf"[{CROCKFORD}]{{6,32}}")

# C0 but tab and newline, DEL, C1, and the bidi embeddings, overrides and isolates that terminals obey.
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")
LINE_ENDS: Final = re.compile(r"\r\n|\r|\u2028|\u2029")
VISIBLE: Final = re.compile(r"[^\s\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")

_RANDOM_BITS: Final = 50
_STEP_BITS: Final = 32
_ID_CHARS: Final = 20
_NONCE_CHARS: Final = 6
_PAIRS: Final = tuple(high + low for high in CROCKFORD for low in CROCKFORD)


class TooLarge(InvalidInput):
    """The message is over the limit: the sender shortens it or attaches a file."""

    code = "too-large"


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that passed every check; `removed_controls` counts characters that were taken out of the body."""

    body: str
    topic: str | None = None
    attachments: tuple[str, ...] = ()
    reply_to: str | None = None
    idempotency_key: str | None = None
    removed_controls: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """An accepted message; `accepted_at` is wall seconds, `hops` the length of the reply chain before it."""

    id: str
    nonce: str
    sender: Identity
    recipient: Identity
    body: str
    topic: str | None
    attachments: tuple[str, ...]
    reply_to: str | None
    idempotency_key: str | None
    hops: int
    accepted_at: float
    kind: Kind
    removed_controls: int


class IdSequence:
    """Message ids that sort by time and never go back, though the clock may; safe between threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._last = 0

    def next(self, wall: float) -> str:
        """Return an id for wall seconds `wall`."""
        chance = secrets.randbits(_STEP_BITS + _RANDOM_BITS)
        fresh = max(int(wall * 1000), 0) << _RANDOM_BITS | chance & (1 << _RANDOM_BITS) - 1
        with self._mutex:
            # A random step keeps ids of a forked process apart from its parent's.
            self._last = max(fresh, self._last + 1 + (chance >> _RANDOM_BITS))
            value = self._last
        return "m_" + _base32(value, _ID_CHARS)


_SEQUENCE: Final = IdSequence()


def new_message_id(wall: float) -> str:
    """Return `m_` and 20 characters: milliseconds, then chance; later ids of this process sort after earlier ones."""
    return _SEQUENCE.next(wall)


def new_nonce(text: str) -> str:
    """Return 6 lower-case base32 characters that stand nowhere in `text`, in either case."""
    lowered = text.lower()
    while True:
        nonce = _base32(secrets.randbits(5 * _NONCE_CHARS), _NONCE_CHARS)
        if nonce not in lowered:
            return nonce


def check_draft(
    body: object,
    *,
    topic: object = None,
    attachments: object = (),
    reply_to: object = None,
    idempotency_key: object = None,
) -> Draft:
    """Return a clean draft whose attachments can be read now; raises as `check_fields`. Blocks where a path does."""
    draft = check_fields(body, topic=topic, attachments=attachments, reply_to=reply_to, idempotency_key=idempotency_key)
    for path in draft.attachments:
        check_attachment(path)
    return draft


def check_fields(
    body: object,
    *,
    topic: object = None,
    attachments: object = (),
    reply_to: object = None,
    idempotency_key: object = None,
) -> Draft:
    """Return a clean draft, or raise InvalidInput (TooLarge) naming the field, the limit and what to do.

    Line ends become LF; control characters other than tab and newline are removed and counted.
    An empty topic, reply_to or idempotency_key counts as not given. Of attachments the words alone are looked at:
    whether they can be read tells `check_attachment`.
    """
    text, removed = clean_body(body)
    return Draft(
        body=text,
        topic=_check_topic(topic),
        attachments=_check_attachments(attachments),
        reply_to=_check_reply_to(reply_to),
        idempotency_key=_check_key(idempotency_key),
        removed_controls=removed,
    )


def clean_body(body: object, field: str = "message") -> tuple[str, int]:
    """Return the body with LF line ends and without control characters, and how many were removed."""
    text = _check_text(field, body)
    if text and len(text) <= MAX_PLAIN and text.isprintable() and not text.isspace():
        return text, 0
    size = len(text.encode())
    if size > MAX_BODY_BYTES:
        raise TooLarge(
            field,
            f"{size:,} bytes are over the limit of {MAX_BODY_BYTES:,} (256 KiB);"
            " shorten it, or write it to a file and attach that",
        )
    lines = LINE_ENDS.sub("\n", text)
    clean = CONTROLS.sub("", lines)
    if not VISIBLE.search(clean):
        held = "only control characters" if len(clean) < len(lines) else "only blank space" if text else "empty"
        raise InvalidInput(field, f"it is {held}; write 1 character to 256 KiB of text")
    return clean, len(lines) - len(clean)


def accept(
    draft: Draft, sender: Identity, recipient: Identity, *, hops: int, now: float, kind: Kind = Kind.MESSAGE
) -> Message:
    """Make the message of a draft, with an id for wall seconds `now` and a nonce that it cannot contain."""
    return Message(
        id=new_message_id(now),
        nonce=new_nonce("\n".join((draft.body, draft.topic or "", *draft.attachments))),
        sender=sender,
        recipient=recipient,
        body=draft.body,
        topic=draft.topic,
        attachments=draft.attachments,
        reply_to=draft.reply_to,
        idempotency_key=draft.idempotency_key,
        hops=hops,
        accepted_at=now,
        kind=kind,
        removed_controls=draft.removed_controls,
    )


def notice_text(message_id: str, recipient: Identity, reason: str) -> str:
    """Return the body of a notice to the sender of a dead letter, in one line."""
    why = CONTROLS.sub("", " ".join(reason.split())) or "no reason is known"
    return (
        f"Your message {message_id} to {recipient.personality} ({recipient.runtime}) was given up: {why}."
        f" It is kept; an operator can repeat it with: peerwake queue retry {message_id}"
    )


def _base32(value: int, width: int) -> str:
    """Return the lowest `width` digits of a number; `width` is even."""
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(5 * (width - 2), -1, -10)])


def _check_text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(field, f"it is {_kind_of(value)}, not text; give a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            field,
            f"character {error.start + 1} is half of a surrogate pair, which is not text; send valid Unicode",
        ) from None
    return value


def _check_line(field: str, value: object, limit: int) -> str | None:
    if value is None or value == "":
        return None
    text = _check_text(field, value).strip()
    if len(text) > limit:
        raise InvalidInput(field, f"{len(text)} characters are over the limit of {limit}; shorten it")
    if "\n" in text or LINE_ENDS.search(text):
        raise InvalidInput(field, "it has a line break; give one line")
    if "\t" in text or CONTROLS.search(text):
        raise InvalidInput(field, "it has control characters; give one line of plain text")
    return text or None


def _check_topic(topic: object) -> str | None:
    return _check_line("topic", topic, MAX_TOPIC)


def _check_key(key: object) -> str | None:
    text = _check_line("idempotency_key", key, MAX_KEY)
    if text is not None and not text.isprintable():
        raise InvalidInput("idempotency_key", f"it is not printable; give 1 to {MAX_KEY} printable characters")
    return text


def _check_reply_to(reply_to: object) -> str | None:
    if reply_to is None or reply_to == "":
        return None
    text = _check_text("reply_to", reply_to)
    if not MESSAGE_ID.fullmatch(text):
        raise InvalidInput("reply_to", f"{text!r:.60} is not a message id; give the id of the message you answer")
    return text


def _check_attachments(attachments: object) -> tuple[str, ...]:
    if attachments is None:
        return ()
    if not isinstance(attachments, list | tuple):
        raise InvalidInput("attachments", f"it is {_kind_of(attachments)}, not a list; give a list of absolute paths")
    if len(attachments) > MAX_ATTACHMENTS:
        raise InvalidInput(
            "attachments",
            f"{len(attachments)} are over the limit of {MAX_ATTACHMENTS}; pack the files into one or send fewer",
        )
    return tuple(_check_path(path) for path in attachments)


def _check_path(path: object) -> str:
    text = _check_text("attachments", path)
    shown = f"{text!r:.120}"
    if CONTROLS.search(text) or LINE_ENDS.search(text) or "\n" in text or "\t" in text:
        raise InvalidInput("attachments", f"{shown} has control characters in its path; rename the file")
    if not text.startswith("/"):
        raise InvalidInput("attachments", f"{shown} is not an absolute path; give one that starts with /")
    return text


def check_attachment(path: str) -> None:
    """Raise InvalidInput unless this is a regular file that can be read; blocking, for as long as its place does."""
    shown = f"{path!r:.120}"
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            held = "a directory; attach its files" if stat.S_ISDIR(mode) else "not a regular file; attach a regular one"
            raise InvalidInput("attachments", f"{shown} is {held}")
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        raise InvalidInput(
            "attachments", f"{shown} cannot be read: {error.strerror}; attach a file that exists and is readable"
        ) from error


def _kind_of(value: object) -> str:
    match value:
        case None:
            return "missing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case dict():
            return "an object"
        case list() | tuple():
            return "a list"
        case _:
            return f"a {type(value).__name__}"
