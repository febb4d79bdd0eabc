"""The whole made of its pieces."""

from pathlib import Path

from lifecycle.prompt.layers import DATE, Layer, Piece, Prompt


def test_a_bare_prompt_says_nothing() -> None:
    assert (Prompt().text, Prompt().is_bare) == ("", True)


def test_pieces_are_joined_and_measured_in_bytes() -> None:
    prompt = Prompt((Piece(Layer.RULES, "é"), Piece(Layer.DOCTRINE, "two", Path("/a"))))
    assert prompt.text == f"<!-- peerwake prompt, edition {prompt.edition} -->\n\né\n\ntwo\n"
    assert prompt.size(Layer.RULES) == 2
    assert prompt.size(Layer.DOMAIN) == 0


def test_the_edition_tells_pieces_apart() -> None:
    def edition(*texts: str) -> str:
        return Prompt(tuple(Piece(Layer.DOMAIN, text) for text in texts)).edition

    assert len({edition("ab"), edition("a", "b"), edition("b", "a")}) == 3


def test_another_day_is_no_other_edition_and_any_other_fact_is() -> None:
    def edition(facts: str, layer: Layer = Layer.FACTS) -> str:
        return Prompt((Piece(layer, facts),)).edition

    assert edition(f"name: a\n{DATE}: 1") == edition(f"name: a\n{DATE}: 2")
    assert edition(f"name: a\n{DATE}: 1") != edition(f"name: b\n{DATE}: 1")
    assert edition(f"{DATE}: 1", Layer.DOMAIN) != edition(f"{DATE}: 2", Layer.DOMAIN)
