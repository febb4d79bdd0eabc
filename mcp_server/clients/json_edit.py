"""Change or remove one value of a JSON text and leave every other byte as it is."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

_DECODER: Final = json.JSONDecoder()
_BLANK: Final = re.compile(r"[ \t\r\n]*")
_INDENT: Final = re.compile(r"\{\r?\n([ \t]+)\"")


def set_value(text: str, path: Sequence[str], value: object) -> str:
    """Return `text`, an object, with the member at `path` set; objects on the way are made if need be.

    Raises ValueError when the text is no JSON object or something on the way is no object.
    """
    if not isinstance(json.loads(text), dict):
        raise ValueError("it is not an object")
    found = _INDENT.search(text)
    return _set(text, _skip(text, 0), list(path), value, found[1] if found else "  ", 1)


def remove_value(text: str, path: Sequence[str]) -> str:
    """Return `text`, an object, without the member at `path`; unchanged when there is none.

    Raises ValueError when the text is no JSON object, or has the member twice.
    """
    if not isinstance(json.loads(text), dict):
        raise ValueError("it is not an object")
    start = _skip(text, 0)
    for key in path[:-1]:
        members, _, _ = _members(text, start)
        if key not in members or text[members[key][0]] != "{":
            return text
        start = members[key][0]
    members, _, end = _members(text, start)
    if path[-1] not in members:
        return text
    cut = _without(text, start, path[-1], members, end)
    if path[-1] in _members(cut, start)[0]:
        raise ValueError(f"it has {path[-1]!r} twice")
    return cut


def _without(text: str, start: int, key: str, members: dict[str, tuple[int, int]], end: int) -> str:
    names = list(members)
    place = names.index(key)
    if place > 0:
        return text[: members[names[place - 1]][1]] + text[members[key][1] :]
    if len(names) == 1:
        return text[: start + 1] + text[end - 1 :]
    return text[: _skip(text, start + 1)] + text[_skip(text, text.index(",", members[key][1]) + 1) :]


def _set(text: str, start: int, path: list[str], value: object, unit: str, depth: int) -> str:
    if text[start] != "{":
        raise ValueError(f"the value around {path[0]!r} is not an object")
    members, last, end = _members(text, start)
    key, *rest = path
    if key in members:
        first, after = members[key]
        if rest:
            return _set(text, first, rest, value, unit, depth + 1)
        return text[:first] + _dump(value, unit, depth) + text[after:]
    for name in reversed(rest):
        value = {name: value}
    member = f"\n{unit * depth}{json.dumps(key, ensure_ascii=False)}: {_dump(value, unit, depth)}"
    if members:
        return text[:last] + "," + member + text[last:]
    return text[: start + 1] + member + "\n" + unit * (depth - 1) + text[end - 1 :]


def _dump(value: object, unit: str, depth: int) -> str:
    text = json.dumps(value, indent=unit, ensure_ascii=False)
    if any("\ud800" <= char <= "\udfff" for char in text):
        text = json.dumps(value, indent=unit)  # half of a pair can be written as an escape only
    return text.replace("\n", "\n" + unit * depth)


def _members(text: str, start: int) -> tuple[dict[str, tuple[int, int]], int, int]:
    """Return where each value of an object stands, the end of the last one, and the end of the object."""
    members: dict[str, tuple[int, int]] = {}
    last = position = start + 1
    while True:
        position = _skip(text, position)
        if text[position] == "}":
            return members, last, position + 1
        if text[position] == ",":
            position = _skip(text, position + 1)
        key, position = _decode(text, position)
        first = _skip(text, _skip(text, position) + 1)
        _, last = _decode(text, first)
        members.pop(key, None)  # of two members of one name the last counts, and it stands where it stands
        members[key] = (first, last)
        position = last


def _decode(text: str, position: int) -> tuple[Any, int]:
    return _DECODER.raw_decode(text, position)


def _skip(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position
