"""Topics of one conversation accumulate, and are compared as people mean them."""

from hypothesis import given
from hypothesis import strategies as st

from lifecycle.topics import TOPICS_KEPT, normal, with_topic


def test_what_is_no_topic_adds_none() -> None:
    assert with_topic(("a",), None) == ("a",)
    assert with_topic(("a",), "  ") == ("a",)


def test_a_known_one_moves_to_the_end() -> None:
    assert with_topic(("a", "b"), "A ") == ("b", "A ")


@given(st.lists(st.text(min_size=1, max_size=20), max_size=120))
def test_none_is_twice_and_the_newest_stay(given_topics: list[str]) -> None:
    topics: tuple[str, ...] = ()
    for topic in given_topics:
        topics = with_topic(topics, topic)
    assert len(topics) <= TOPICS_KEPT
    assert len({normal(topic) for topic in topics}) == len(topics)
    real = [topic for topic in given_topics if topic.strip()]
    assert not real or topics[-1] == real[-1]
