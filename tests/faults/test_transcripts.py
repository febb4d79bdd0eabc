"""What agents wrote down becomes the right entries of the books."""

import json
from pathlib import Path

import pytest

from tests.faults.bodies import digest
from tests.faults.books import Told
from tests.faults.fault import Peer
from tests.faults.nobody import POLICY
from tests.faults.transcripts import PLACE, Transcripts

TASK, ANSWER = f"m_{1:020d}", f"m_{2:020d}"
CALL = {
    "type": "tool_use",
    "at": 2.0,
    "tool": "send_to_peer",
    "arguments": {"personality": "via", "message": "done", "reply_to": TASK},
}


class Written:
    """The transcripts of one peer, and what is read of them."""

    def __init__(self, place: Path, policy: str) -> None:
        self._path = place / PLACE / "s1.jsonl"
        self._path.parent.mkdir(parents=True)
        everybody = [Peer("alice", "scripted-alice", policy, place), Peer("gone", "scripted-gone", POLICY, place / "x")]
        self.read = Transcripts(everybody)
        self.write({"type": "session", "at": 1.0})

    def write(self, *records: dict[str, object]) -> Transcripts:
        with self._path.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        self.read.read()
        return self.read


@pytest.fixture
def worker(tmp_path: Path) -> Written:
    return Written(tmp_path, "ephemeral")


def result(text: str, *, is_error: bool = False) -> dict[str, object]:
    return {"type": "tool_result", "at": 3.0, "tool": "send_to_peer", "text": text, "is_error": is_error}


def test_a_reply_without_an_answer_may_have_been_accepted(worker: Written) -> None:
    (reply,) = worker.write(CALL).replies
    assert (reply.session, reply.task, reply.digest, reply.told) == ("s1", TASK, digest("done"), Told.UNKNOWN)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (result(f"Queued {ANSWER}"), [Told.ACCEPTED]),
        (result("it may have been accepted", is_error=True), [Told.UNKNOWN]),
        (result("via is stopped", is_error=True), []),
    ],
)
def test_a_reply_is_what_its_worker_was_told(worker: Written, answer: dict[str, object], told: list[Told]) -> None:
    found = worker.write(CALL, answer).replies
    assert [reply.told for reply in found] == told
    assert all(reply.task == TASK for reply in found)


def test_only_workers_reply_to_tasks(tmp_path: Path) -> None:
    assert Written(tmp_path, "warm").write(CALL, result(f"Queued {ANSWER}")).replies == []


def test_what_was_typed_before_anybody_could_see_where_to_is_kept_apart(worker: Written) -> None:
    keys = [{"type": kind, "at": 4.0, "text": repr(b"y\r"), "where": "ask"} for kind in ("key", "in-flight")]
    found = worker.write(*keys)
    assert [(each.keys, each.at) for each in found.pressed] == [("y\r", 4.0)]
    assert [(each.keys, each.at) for each in found.in_flight] == [("y\r", 4.0)]


@pytest.mark.parametrize(("name", "count"), [("gone", 1), ("alice", 0)])
def test_a_notice_makes_room_at_who_takes_nothing(tmp_path: Path, name: str, count: int) -> None:
    text = f"Your message {TASK} to {name} (scripted) was given up: why."
    opening = f'<peer-message-abcdef id="{ANSWER}" from="peerwake">'
    found = Written(tmp_path, "warm").write(
        {"type": "user", "at": 2.0, "text": f"{opening}\n{text}\n</peer-message-abcdef>"}
    )
    assert [each.notice_of for each in found.taken] == [TASK]
    assert found.consumed.get("scripted-gone", 0) == count


def prompt(number: int, body: str) -> dict[str, object]:
    name = f"peer-message-{number:06d}"
    text = f'<{name} id="m_{number:020d}" from="bob">\n{body}\n</{name}>'
    return {"type": "user", "at": float(number), "text": text}


def test_a_result_that_had_no_room_on_the_disk_is_not_that_of_a_later_call(tmp_path: Path) -> None:
    later = CALL | {"at": 5.0, "arguments": {"personality": "bob", "message": "two"}}
    read = Written(tmp_path, "warm").write(CALL, prompt(4, "hello"), later, result(f"Queued {ANSWER}"))
    read.finish()
    assert [(each.recipient, each.told, each.message_id) for each in read.sent] == [
        ("scripted-via", Told.UNKNOWN, None),
        ("scripted-bob", Told.ACCEPTED, ANSWER),
    ]


def test_a_conversation_whose_first_record_had_no_room_comes_after_those_that_began_before_it(tmp_path: Path) -> None:
    written = Written(tmp_path, "warm")
    written.write(prompt(1, "first"))
    later = tmp_path / PLACE / "r2.jsonl"
    later.write_text("".join(json.dumps({**prompt(number, "then"), "at": 5.0}) + "\n" for number in (2, 3)))
    written.read.read()
    in_order = sorted(written.read.taken, key=lambda each: each.place)
    assert [each.message_id for each in in_order] == [f"m_{number:020d}" for number in (1, 2, 3)]
