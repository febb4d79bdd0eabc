import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_server.clients.json_edit import remove_value, set_value

KEYS = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def test_only_the_value_changes() -> None:
    text = '{\n\t"a" :  [1,2],\r\n\t"b": {"c": 1.50, "d": "\\u00e9"},\n\t"z": "end"   }\n\n'
    assert set_value(text, ["b", "c"], 2) == text.replace("1.50", "2")


def test_a_member_is_added_in_the_style_of_the_file() -> None:
    text = '{\n    "a": 1,\n    "b": {\n        "c": 2\n    }\n}\n'
    assert set_value(text, ["b", "d"], [3]) == (
        '{\n    "a": 1,\n    "b": {\n        "c": 2,\n        "d": [\n            3\n        ]\n    }\n}\n'
    )


def test_half_of_a_surrogate_pair_is_written_as_an_escape() -> None:
    changed = set_value('{"a": 1}', ["a"], ["\ud800", "\u00e9"])
    assert json.loads(changed) == {"a": ["\ud800", "\u00e9"]}
    assert changed.encode("utf-8")


def test_an_empty_object_is_filled() -> None:
    assert set_value("{}\n", ["a", "b"], 1) == '{\n  "a": {\n    "b": 1\n  }\n}\n'


@pytest.mark.parametrize("text", ["", "[]", "7", '{"a": 1', '{"a": 1,}', "{} {}"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        set_value(text, ["a"], 1)
    with pytest.raises(ValueError):
        remove_value(text, ["a"])


def test_a_value_in_the_way_is_refused() -> None:
    with pytest.raises(ValueError, match="'b'"):
        set_value('{"a": "text"}', ["a", "b"], 1)


@given(
    document=st.dictionaries(KEYS, VALUES, max_size=4),
    path=st.lists(KEYS, min_size=1, max_size=3),
    value=VALUES,
    indent=st.sampled_from([None, 1, 2, "\t"]),
)
def test_the_result_is_the_document_with_the_value(document, path, value, indent) -> None:
    expected = json.loads(json.dumps(document))
    inner = expected
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            with pytest.raises(ValueError):
                set_value(json.dumps(document, indent=indent), path, value)
            return
    inner[path[-1]] = value
    assert json.loads(set_value(json.dumps(document, indent=indent), path, value)) == expected


def test_only_the_member_goes() -> None:
    text = '{\n\t"a" :  [1,2],\r\n\t"b": {"c": 1.50, "d": "\\u00e9"},\n\t"z": "end"   }\n\n'
    assert remove_value(text, ["b", "c"]) == text.replace('"c": 1.50, ', "")
    assert remove_value(text, ["b", "d"]) == text.replace(', "d": "\\u00e9"', "")
    assert remove_value(text, ["a"]) == text.replace('"a" :  [1,2],\r\n\t', "")
    assert remove_value(text, ["z"]) == text.replace(',\n\t"z": "end"', "")


@pytest.mark.parametrize("path", [["x"], ["a", "x"], ["b", "x"], ["b", "c", "x"]])
def test_what_is_not_there_is_not_removed(path: list[str]) -> None:
    text = '{"a": 1, "b": {"c": []}}'
    assert remove_value(text, path) == text


def test_a_member_that_is_there_twice_in_a_row_is_gone() -> None:
    assert remove_value('{"a": 1, "a": 2}', ["a"]) == "{}"


@given(
    document=st.dictionaries(KEYS, VALUES, max_size=4),
    path=st.lists(KEYS, min_size=1, max_size=3),
    indent=st.sampled_from([None, 1, 2, "\t"]),
)
def test_the_result_is_the_document_without_the_value(document, path, indent) -> None:
    for member in (path, [next(iter(document), "")]):
        expected = json.loads(json.dumps(document))
        inner = expected
        for key in member[:-1]:
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(member[-1], None)
        assert json.loads(remove_value(json.dumps(document, indent=indent), member)) == expected


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 3}', '{"a": 1, "b": 2, "a": 3, "c": 4}'])
def test_a_member_that_is_there_twice_takes_no_other_with_it(text: str) -> None:
    with pytest.raises(ValueError, match="it has 'a' twice"):
        remove_value(text, ["a"])
