"""Arguments of a tool call: taken, or refused by their name, their limit and what to do."""

from typing import Any

import pytest

from mcp_server.tools.arguments import Arguments
from transport.errors import InvalidInput


def arguments(value: Any) -> Arguments:
    return Arguments("tool", {"it": value}, frozenset({"it"}))


def test_what_the_tool_does_not_take_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"tool does not take 'b', 'c'; it takes a"):
        Arguments("tool", {"a": 1, "c": 1, "b": 1}, frozenset({"a"}))
    assert Arguments("tool", None, frozenset({"a"})).raw("a") is None


def test_what_is_not_given_is_the_default() -> None:
    nothing = arguments(None)
    assert (nothing.text("it", 5), nothing.flag("it"), nothing.whole("it", 7, 1, 9)) == (None, False, 7)
    assert (nothing.number("it", 0, 1), nothing.seconds("it")) == (None, None)
    with pytest.raises(InvalidInput, match="it is missing"):
        nothing.required("it")


def test_what_is_given_is_taken_at_its_limits() -> None:
    assert arguments("abc").text("it", 3) == "abc"
    assert arguments("").text("it", 3) is None
    assert arguments(True).flag("it")
    assert [arguments(value).whole("it", 7, 1, 9) for value in (1, 9)] == [1, 9]
    assert [arguments(value).number("it", 0, 1.5) for value in (0, 1.5)] == [0.0, 1.5]
    assert arguments(3).seconds("it") == 3.0
    assert arguments([1]).required("it") == arguments([1]).raw("it") == [1]


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (5, lambda given: given.text("it", 3)),
        ("abcd", lambda given: given.text("it", 3)),
        (1, lambda given: given.flag("it")),
        (True, lambda given: given.whole("it", 7, 0, 9)),
        (1.0, lambda given: given.whole("it", 7, 1, 9)),
        (0, lambda given: given.whole("it", 7, 1, 9)),
        (10, lambda given: given.whole("it", 7, 1, 9)),
        (False, lambda given: given.number("it", 0, 1)),
        ("1", lambda given: given.number("it", 0, 1)),
        (1.01, lambda given: given.number("it", 0, 1)),
        (float("nan"), lambda given: given.number("it", 0, 1)),
        (True, lambda given: given.seconds("it")),
        ("1", lambda given: given.seconds("it")),
    ],
)
def test_anything_else_is_refused_by_name(value: object, taken: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        taken(arguments(value))
    assert str(refused.value).startswith("it:"), refused.value
