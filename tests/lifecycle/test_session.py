"""The record of a session: written whole, read strictly, and never another session's."""

import json
import os
import threading
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.session import OtherVersion, Session, Sessions, SessionUnreadable, dump, parse
from lifecycle.states import End, Mode
from lifecycle.topics import TOPICS_KEPT
from transport.identity import Identity
from transport.paths import Root
from transport.process import ProcessId, identify

ALICE = Identity("scripted", "alice")
TEXT = st.text(max_size=20)
PROCESSES = st.builds(ProcessId, st.integers(1, 1 << 22), st.from_regex(r"[0-9]{1,12}", fullmatch=True))
SESSIONS = st.builds(
    Session,
    identity=st.builds(
        Identity,
        st.from_regex(r"[a-z][a-z0-9]{0,31}", fullmatch=True),
        st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True),
    ),
    host=TEXT,
    tenant_id=TEXT,
    cwd=TEXT,
    fence=TEXT,
    woke_at=st.floats(allow_nan=False, allow_infinity=False),
    mode=st.sampled_from(Mode),
    session_id=TEXT,
    session_ref=st.none() | TEXT,
    tmux=st.none() | PROCESSES,
    pane=st.none() | PROCESSES,
    pane_id=TEXT,
    is_ready=st.booleans(),
    is_closing=st.booleans(),
    task=st.none() | TEXT,
    client_env=st.dictionaries(TEXT, TEXT, max_size=3),
    obeys=st.dictionaries(TEXT, TEXT, max_size=3),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def session(**changes: Any) -> Session:
    known: dict[str, Any] = {"host": "here", "tenant_id": "me", "cwd": "/tmp", "fence": "f1", "woke_at": 1.5}
    known |= {"mode": Mode.FRESH, "session_id": "s1", "identity": ALICE}
    return Session(**(known | changes))


@given(SESSIONS)
def test_a_record_comes_back_as_it_was(given: Session) -> None:
    assert parse(dump(given)) == given


@given(st.text() | JSON.map(json.dumps))
def test_any_text_is_a_session_or_unreadable(text: str) -> None:
    with pytest.raises(SessionUnreadable):
        parse(text)


@given(SESSIONS, st.data())
def test_any_field_of_a_wrong_kind_is_unreadable_or_taken_for_what_it_is(given: Session, data: st.DataObject) -> None:
    record = json.loads(dump(given))
    name = data.draw(st.sampled_from(sorted(record)))
    record[name] = data.draw(JSON)
    try:
        read = parse(json.dumps(record))
    except SessionUnreadable:
        return
    assert parse(dump(read)) == read or read.woke_at != read.woke_at


@given(SESSIONS, st.data())
def test_a_missing_or_cut_record_is_unreadable(given: Session, data: st.DataObject) -> None:
    text = dump(given)
    with pytest.raises(SessionUnreadable):
        parse(text[: data.draw(st.integers(0, len(text) - 3))])


@pytest.mark.parametrize("text", ["[" * 60_000, '{"version": 2}', '{"version": 1, "surprise": 3}', "1", "null", '"x"'])
def test_deep_new_and_odd_records_are_unreadable(text: str) -> None:
    with pytest.raises(SessionUnreadable):
        parse(text)


def test_an_older_record_without_the_newer_field_is_read() -> None:
    record = json.loads(dump(session()))
    del record["is_closing"]
    assert parse(json.dumps(record)) == session()


def test_what_a_newer_version_added_is_kept_through_every_change(root: Root) -> None:
    sessions, added = Sessions(root), {"foreign": 1, "window": {"columns": [80]}}
    sessions.path(ALICE).write_text(json.dumps(json.loads(dump(session())) | added))
    found = sessions.load(ALICE)
    assert found is not None
    assert (found, found.foreign) == (session(foreign=added), added)
    sessions.update(session(), is_closing=True)
    assert added.items() <= json.loads(sessions.path(ALICE).read_text()).items()
    assert sessions.retire(found)
    last = sessions.last(ALICE)
    assert last is not None and last.foreign == added


def test_an_end_that_only_a_newer_version_knows_is_a_deliberate_one() -> None:
    record = json.loads(dump(session(is_closing=True))) | {"end": "evicted"}
    assert parse(json.dumps(record)).end is End.STOPPED


def test_a_record_of_an_incompatible_version_is_unreadable_and_left_as_it_is(root: Root) -> None:
    sessions = Sessions(root)
    text = dump(session()).replace('"version": 1', '"version": 2')
    sessions.path(ALICE).write_text(text)
    sessions.update(session(), is_closing=True)
    assert not sessions.retire(session())
    sessions.discard(session())
    with pytest.raises(OtherVersion, match="another version of peerwake; upgrade, or stop the peer"):
        sessions.load(ALICE)
    assert sessions.path(ALICE).read_text() == text


@pytest.mark.parametrize("damage", ["text", "directory", "fifo", "link", "huge", "foreign"])
def test_an_unreadable_record_is_neither_there_nor_not(root: Root, damage: str) -> None:
    sessions = Sessions(root)
    path = sessions.path(ALICE)
    match damage:
        case "text":
            path.write_text("{")
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to("/etc/hostname")
        case "huge":
            path.write_text(dump(session(cwd="x" * 70_000)))
        case "foreign":
            path.write_text(dump(session(identity=Identity("scripted", "bob"))))
    for ask in (sessions.load, sessions.live, sessions.last):
        with pytest.raises(SessionUnreadable, match="peerwake stop alice"):
            ask(ALICE)
    assert sessions.identities() == [ALICE]
    assert not sessions.retire(session())
    assert sessions.set_aside(ALICE) == root.flag(ALICE, "damaged")
    assert sessions.load(ALICE) is None
    assert sessions.identities() == []


def test_alive_is_this_very_process(root: Root) -> None:
    me = identify(os.getpid())
    assert me is not None
    sessions = Sessions(root)
    sessions.save(session(tmux=me))
    assert sessions.live(ALICE) == session(tmux=me)
    sessions.save(session(tmux=replace(me, started="1")))
    assert sessions.live(ALICE) is None
    sessions.save(session())
    assert sessions.live(ALICE) is None


def test_retiring_happens_once_and_keeps_the_last(root: Root) -> None:
    sessions = Sessions(root)
    sessions.save(session())
    assert sessions.retire(session(session_ref="r"))
    assert not sessions.retire(session())
    assert sessions.load(ALICE) is None
    last = sessions.last(ALICE)
    assert last is not None and last.session_ref == "r"
    assert sessions.find(ALICE, "f1") == last
    assert sessions.find(ALICE, "f2") is None


def test_who_comes_late_does_not_touch_the_next_session(root: Root) -> None:
    """A death is noticed while the next session starts: its record stays."""
    sessions = Sessions(root)
    old, new = session(), session(fence="f2")
    sessions.save(old)
    sessions.save(new)
    assert not sessions.retire(old)
    sessions.discard(old)
    sessions.update(old, is_ready=True)
    assert sessions.load(ALICE) == new
    assert sessions.find(ALICE, "f2") == new


def test_a_change_is_made_to_the_record_as_it_is_now(root: Root) -> None:
    """Becoming ready and beginning to close cross: neither is lost."""
    sessions = Sessions(root)
    first = sessions.save(session())
    sessions.update(first, is_closing=True)
    assert sessions.update(first, is_ready=True).is_closing
    now = sessions.load(ALICE)
    assert now is not None and now.is_ready and now.is_closing and not now.takes_messages


def test_a_retired_session_is_not_written_again(root: Root) -> None:
    sessions = Sessions(root)
    sessions.save(session())
    sessions.retire(session())
    assert sessions.update(session(), is_ready=True).is_ready
    assert sessions.load(ALICE) is None


def test_racing_retirements_have_one_winner(root: Root) -> None:
    sessions = Sessions(root)
    for number in range(20):
        one = sessions.save(session(fence=f"f{number}"))
        won: list[bool] = []
        threads = [threading.Thread(target=_retire, args=(sessions, one, won)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(won) == [False, False, False, True]


def _retire(sessions: Sessions, one: Session, won: list[bool]) -> None:
    won.append(sessions.retire(one))


def test_of_too_many_topics_the_one_that_was_not_used_for_the_longest_time_goes(root: Root) -> None:
    sessions = Sessions(root)
    saved = sessions.save(session())
    for number in range(TOPICS_KEPT):
        sessions.add_topic(saved, f"topic {number}")
    sessions.add_topic(saved, "Topic 0")
    sessions.add_topic(saved, "one more")
    found = sessions.load(saved.identity)
    assert found is not None
    assert len(found.topics) == TOPICS_KEPT
    assert {"Topic 0", "one more"} < set(found.topics) and "topic 1" not in found.topics
