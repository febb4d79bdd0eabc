"""Reading the envelope of a message, strictly: anything else is just text.

The grammar is that of transport.envelope, whose imports would cost more than this agent's whole start.
"""

from collections.abc import Mapping

NAMED = {"amp": "&", "quot": '"', "lt": "<", "gt": ">"}


class Letter:
    """What a prompt says: the body and, when it came in an envelope, its attributes (`id`, `from`, …)."""

    def __init__(self, body: str, attributes: Mapping[str, str], attachments: list[str]) -> None:
        self.body = body
        self.attributes = attributes
        self.attachments = attachments


def read(text: str) -> Letter:
    """Return the letter in `text`; without a whole and proper envelope the text is the body."""
    import re

    bare = text.strip()
    tag = re.match(r'<(peer-message-[a-z0-9]+)((?: [a-z-]+="[^"<>\n]*")*)>\n', bare)
    attributes = {} if tag is None else dict(re.findall(r' ([a-z-]+)="([^"]*)"', tag[2]))
    if tag is None or not attributes.get("from") or not attributes.get("id"):
        return Letter(text, {}, [])
    end = f"\n</{tag[1]}>"
    if not bare.endswith(end) or bare.count(end) != 1:
        return Letter(text, {}, [])
    inner = bare[tag.end() : -len(end)]
    count = int(attributes["attachments"]) if attributes.get("attachments", "").isdecimal() else 0
    *heads, body = inner.split("\n", count)
    clean = {name: re.sub(r"&(#?\w+);", _character, value) for name, value in attributes.items()}
    return Letter(_whole(clean, body), clean, [head.removeprefix("attachment: ") for head in heads])


def _character(found: "re.Match[str]") -> str:
    name = found[1]
    return chr(int(name[1:])) if name[1:].isdecimal() else NAMED.get(name, found[0])


def _whole(attributes: Mapping[str, str], body: str) -> str:
    if "body-file" not in attributes:
        return body
    try:
        with open(attributes["body-file"], encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return body


TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
