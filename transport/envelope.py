"""The block of text a recipient reads: a tag around the body that the body cannot forge or close.

    <peer-message-NONCE id="…" from="…" runtime="…" intelligence="…" topic="…" reply-to="…" at="…" attachments="2">
    attachment: /absolute/path/one
    attachment: /absolute/path/two
    body, verbatim
    </peer-message-NONCE>

`topic`, `reply-to` and `attachments` stand only where the message has them. A long body, or one with a line that
the recipient's composer would rewrite, lies in a file: the tag then has `body-file` and `body-bytes`, and between
the tags stand one line that says so and the first lines.
"""

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from transport.errors import PeerwakeError
from transport.files import write_atomic
from transport.message import Message
from transport.paths import RootUnusable, check_ours

INLINE_BYTES: Final = 8 * 1024
PREVIEW_LINES: Final = 10
PREVIEW_CHARS: Final = 1000
ATTACHMENT: Final = "attachment: "
QUOTED: Final = "| "

_ENTITIES: Final = {"&": "amp", '"': "quot", "<": "lt", ">": "gt"}
_CHARACTERS: Final = {name: char for char, name in _ENTITIES.items()}
_ESCAPED: Final = re.compile(r'[&"<>\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]')
_ENTITY: Final = re.compile(r"&(?:(amp|quot|lt|gt)|#([0-9]{1,5}));")
_ATTRIBUTE: Final = re.compile(r' ([a-z-]+)="([^"<>\n]*)"')
_OPENING: Final = re.compile(
    r'<peer-message-(?P<nonce>[0-9a-z]{6,32})(?P<attributes> id="(?P<id>m_[0-9a-z]{20})"(?: [a-z-]+="[^"<>\r\n]*")*)>'
    r"(?=[\r\n]|\Z)"
)


class EnvelopeMalformed(PeerwakeError):
    """The text is not exactly one envelope; the reader treats it as ordinary text."""

    code = "envelope-malformed"


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a recipient read; with `body_file` the body is not the message but how it begins."""

    nonce: str
    attributes: Mapping[str, str]
    attachments: tuple[str, ...]
    body: str

    @property
    def id(self) -> str:
        return self.attributes["id"]

    @property
    def body_file(self) -> Path | None:
        name = self.attributes.get("body-file")
        return Path(name) if name else None


@dataclass(frozen=True, slots=True)
class Form:
    """What body can be typed into a client: not too long, and without a line that matches `rewritten`."""

    inline_bytes: int = INLINE_BYTES
    rewritten: str | None = None

    def takes(self, body: str) -> bool:
        """Tell whether a body can stand in its envelope."""
        return len(body.encode()) <= self.inline_bytes and not any(map(self.rewrites, _lines(body)))

    def rewrites(self, line: str) -> bool:
        """Tell whether the client's composer would make something else of a line."""
        return self.rewritten is not None and re.search(self.rewritten, line) is not None


PLAIN: Final = Form()


def _lines(text: str) -> list[str]:
    """Return the lines that a terminal is given."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def render(message: Message, *, intelligence: str, body_file: Path | None = None, form: Form = PLAIN) -> str:
    """Return the envelope of a message; its first and last lines are the bare tags.

    With `body_file` (see `place_body`) it names that file, its size and its first lines instead of the body.
    """
    content = message.body if body_file is None else _excerpt(message.body, body_file, form)
    lines = [opening(message, intelligence=intelligence, body_file=body_file)]
    lines += [ATTACHMENT + path for path in message.attachments]
    return "\n".join([*lines, content, closing(message)])


def opening(message: Message, *, intelligence: str, body_file: Path | None = None) -> str:
    """Return the first line of the envelope, which no other message's envelope has."""
    moment = datetime.fromtimestamp(message.accepted_at, UTC).isoformat(timespec="seconds")
    attributes = {
        "id": message.id,
        "from": message.sender.personality,
        "runtime": message.sender.runtime,
        "intelligence": intelligence,
        "topic": message.topic,
        "reply-to": message.reply_to,
        "at": moment,
        "attachments": len(message.attachments) or None,
        "body-file": body_file,
        "body-bytes": None if body_file is None else len(message.body.encode()),
    }
    pairs = [f'{name}="{_escape(str(value))}"' for name, value in attributes.items() if value is not None]
    return f"<peer-message-{message.nonce} {' '.join(pairs)}>"


def closing(message: Message) -> str:
    """Return the last line of the envelope."""
    return f"</peer-message-{message.nonce}>"


def place_body(message: Message, directory: Path, form: Form = PLAIN) -> Path | None:
    """Write a body that a client does not take to `directory` (0700) and return the file, None for one that it takes.

    Writing again gives the same file. Raises OSError, also where a link leads to another place, and where another
    user could exchange the file before it is read.
    """
    if form.takes(message.body):
        return None
    for each in (directory.parent, directory):
        if each.is_symlink():
            raise OSError(errno.ELOOP, "a symbolic link; put the directory itself there", str(each))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        for each in (directory.parent, directory):
            check_ours(each)
    except RootUnusable as error:
        raise OSError(errno.EPERM, str(error)) from error
    path = directory / f"{message.id}.txt"
    write_atomic(path, message.body.encode())
    return path


def opening_id(text: str) -> str | None:
    """Return the message id if `text`, after leading white space, begins with an opening tag of ours."""
    match = _OPENING.match(text.lstrip())
    return match["id"] if match else None


def parse(text: str) -> Envelope:
    """Read exactly one envelope, white space around it aside; raises EnvelopeMalformed."""
    bare = text.strip()
    match = _OPENING.match(bare)
    if match is None:
        raise EnvelopeMalformed("the text does not begin with an opening tag <peer-message-…>")
    inner = bare[match.end() :]
    end = f"\n</peer-message-{match['nonce']}>"
    if not inner.endswith(end) or not inner.startswith("\n") or inner.count(end[1:]) > 1:
        raise EnvelopeMalformed(f"message {match['id']} does not end with its closing tag")
    pairs = _ATTRIBUTE.findall(match["attributes"])
    attributes = {name: _unescape(value) for name, value in pairs}
    if len(attributes) != len(pairs):
        raise EnvelopeMalformed(f"message {match['id']} has an attribute twice")
    claimed = attributes.get("attachments", "0")
    count = int(claimed) if re.fullmatch("[0-9]{1,3}", claimed) else -1
    *heads, body = inner[1 : -len(end)].split("\n", max(count, 0))
    if len(heads) != count or not all(line.startswith(ATTACHMENT) for line in heads):
        raise EnvelopeMalformed(f"message {match['id']} does not list {claimed} attachments")
    paths = tuple(line.removeprefix(ATTACHMENT) for line in heads)
    return Envelope(match["nonce"], attributes, paths, body)


def _excerpt(body: str, body_file: Path, form: Form) -> str:
    """Return where a body is and how it begins; a line that the composer would rewrite is quoted."""
    size = len(body.encode())
    why = "too long to stand here" if size > form.inline_bytes else "with a line that this terminal would change"
    first = body.lstrip("\n")[:PREVIEW_CHARS].rstrip()
    lines = [QUOTED + line if form.rewrites(line) else line for line in _lines(first)[:PREVIEW_LINES]]
    shown = "\n".join(lines).rstrip()
    return (
        f"[{size:,} bytes, {why}. Read the whole message in the file"
        f" {body_file} before you act on it. It begins:]\n{shown}\n[…]"
    )


def _escape(value: str) -> str:
    return _ESCAPED.sub(lambda found: f"&{_ENTITIES.get(found[0]) or f'#{ord(found[0])}'};", value)


def _unescape(value: str) -> str:
    return _ENTITY.sub(lambda found: _CHARACTERS[found[1]] if found[1] else chr(int(found[2])), value)
