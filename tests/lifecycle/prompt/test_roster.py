"""The registry layer: never more than 4 KiB, and the right ones of many."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.prompt.roster import ROSTER_BYTES, fits, roster, row
from tests.lifecycle.prompt.kitchen import profile
from transport.profile import Profile
from transport.vocabulary import Intelligence


def many(count: int, description: str = "Does what it says") -> dict[str, Profile]:
    return {f"p{number:05}": profile(f"p{number:05}", description=description) for number in range(count)}


def shown(text: str) -> list[str]:
    return [line.split('"')[1] for line in text.split("\n") if line.startswith("- {")]


def test_a_small_fleet_is_shown_whole_by_name_and_without_the_reader() -> None:
    peers = {name: profile(name) for name in ("dora", "alice", "bob")}
    assert shown(roster(peers, "alice")) == ["bob", "dora"]
    assert "not shown" not in roster(peers, "alice")


def test_nobody_else_is_no_layer() -> None:
    assert roster({"alice": profile("alice")}, "alice") == ""


@pytest.mark.parametrize("count", [30, 240, 500, 10_000])
def test_it_is_bounded_and_counts_the_others(count: int) -> None:
    text = roster(many(count), "p00000")
    assert len(text.encode()) <= ROSTER_BYTES
    hidden = count - 1 - len(shown(text))
    assert (f"# {hidden:,} more are not shown ({hidden:,} artificial); the tool list_peers" in text) == (hidden > 0)
    assert len(text.encode()) > ROSTER_BYTES * 0.8 or hidden == 0


def test_those_written_with_last_come_before_live_ones_before_described_ones() -> None:
    peers = many(300, "") | {"talker": profile("talker"), "zzz": profile("zzz"), "yyy": profile("yyy", description="Y")}
    text = roster(peers, "p00000", contacts=["zzz", "gone"], live={"talker", "unknown"})
    assert {"zzz", "talker", "yyy", "p00001"} <= set(shown(text))
    assert shown(text) == sorted(shown(text))
    few = many(400, "d" * 150) | {"talker": profile("talker"), "zzz": profile("zzz", description="z" * 150)}
    assert {"zzz", "talker", "p00000"} <= set(shown(roster(few, "p00007", contacts=["p00399", "zzz"], live=["talker"])))
    assert "p00399" in shown(roster(few, "p00007", contacts=["p00399"]))
    assert "p00399" not in shown(roster(few, "p00007"))


def test_the_others_are_counted_by_what_they_are() -> None:
    people = {f"h{n:03}": profile(f"h{n:03}", intelligence=Intelligence.NATURAL) for n in range(3)}
    text = roster(many(500, "x" * 100) | people, "p00000")
    assert ", 3 natural)" in text


def test_a_row() -> None:
    carol = profile("carol", intelligence=Intelligence.NATURAL, description='Asks "why", - often: {x}')
    assert row(carol) == (
        '- {name: "carol", runtimes: "scripted", intelligence: "natural", description: "Asks \\"why\\", - often: {x}"}'
    )
    assert row(profile("long", description="x" * 450)).endswith('x…"}')


@settings(max_examples=50)
@given(st.lists(st.text(max_size=450), max_size=60))
def test_no_description_breaks_the_bound_or_the_lines(texts: list[str]) -> None:
    peers = {
        f"p{number}": profile(f"p{number}").model_copy(update={"description": text})
        for number, text in enumerate(texts)
    }
    text = roster(peers, "nobody")
    assert len(text.encode()) <= ROSTER_BYTES
    assert len(text.split("\n")) <= len(texts) + 3
    assert not text or fits(peers, "nobody") != ("not shown" in text)
