"""Evidence in growing, cut, replaced and broken transcripts."""

import json
import os
from pathlib import Path

import pytest

from tests.terminal import parse
from transport import receipt
from transport.receipt import TranscriptTail
from transport.vocabulary import Receipt


def record(message_id: str, kind: str = "user", body: str = "x") -> str:
    return json.dumps({"type": kind, "text": f'<peer-message-1 id="{message_id}">\n{body}'}) + "\n"


@pytest.fixture
def tail(tmp_path: Path) -> TranscriptTail:
    return TranscriptTail(tmp_path / "t.jsonl", parse)


def append(tail: TranscriptTail, text: str | bytes) -> None:
    with tail.path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


async def test_a_file_that_does_not_exist_yet(tail: TranscriptTail) -> None:
    await tail.mark("m_1")
    assert await tail.find("m_1") is None
    append(tail, record("m_1"))
    assert await tail.find("m_1") is Receipt.CONSUMED


async def test_injected_becomes_consumed_and_never_less(tail: TranscriptTail) -> None:
    append(tail, record("m_1", "queued"))
    assert await tail.find("m_1") is Receipt.INJECTED
    append(tail, record("m_1") + record("m_1", "queued"))
    assert await tail.find("m_1") is Receipt.CONSUMED
    append(tail, record("m_1", "queued"))
    assert await tail.find("m_1") is Receipt.CONSUMED


async def test_adoption_finds_what_is_far_behind(tail: TranscriptTail) -> None:
    append(tail, record("m_1") + record("m_0", body="y" * 1000) * 3000)
    assert await TranscriptTail(tail.path, parse).find("m_1") is Receipt.CONSUMED


async def test_marked_messages_are_looked_for_in_what_is_new(tail: TranscriptTail) -> None:
    append(tail, record("m_1"))
    await tail.mark("m_1")
    assert await tail.find("m_1") is None
    append(tail, record("m_1"))
    assert await tail.find("m_1") is Receipt.CONSUMED


async def test_a_line_counts_when_it_is_complete(tail: TranscriptTail) -> None:
    line = record("m_1")
    for position in range(len(line) - 1):
        append(tail, line[position])
        assert await tail.find("m_1") is None
    append(tail, "\n")
    assert await tail.find("m_1") is Receipt.CONSUMED


async def test_lines_that_are_not_evidence(tail: TranscriptTail) -> None:
    append(tail, b'{"type": "user", m_1\n\xff\xfe m_1\n\n[1, "m_1"]\n"m_1"\n' + record("m_1", "assistant").encode())
    assert await tail.find("m_1") is None
    append(tail, record("m_10") + record("m_2", body="m_1"))
    assert await tail.find("m_1") is None
    append(tail, record("m_1"))
    assert await tail.find("m_1") is Receipt.CONSUMED


async def test_a_file_that_was_cut(tail: TranscriptTail) -> None:
    append(tail, record("m_0") * 10)
    await tail.mark("m_1")
    os.truncate(tail.path, 0)
    append(tail, record("m_1"))
    assert await tail.find("m_1") is Receipt.CONSUMED


async def test_a_file_that_was_replaced(tail: TranscriptTail) -> None:
    append(tail, record("m_0"))
    await tail.mark("m_1")
    tail.path.rename(tail.path.with_name("old"))
    assert await tail.find("m_1") is None
    append(tail, record("m_0") * 5 + record("m_1"))
    assert await tail.find("m_1") is Receipt.CONSUMED


async def test_huge_lines(tail: TranscriptTail, monkeypatch: pytest.MonkeyPatch) -> None:
    append(tail, record("m_1", body="y" * (3 << 20)))
    assert await tail.find("m_1") is Receipt.CONSUMED
    monkeypatch.setattr(receipt, "LINE_MAX", 1 << 20)
    append(tail, record("m_2", body="y" * (3 << 20)) + record("m_3"))
    assert await tail.find("m_2") is None
    assert await tail.find("m_3") is Receipt.CONSUMED


async def test_several_messages_are_remembered(tail: TranscriptTail) -> None:
    for number in range(40):
        await tail.mark(f"m_{number}")
        append(tail, record(f"m_{number}"))
        assert await tail.find(f"m_{number}") is Receipt.CONSUMED
    assert await tail.find("m_0") is Receipt.CONSUMED


async def test_an_unreadable_file_is_an_error(tail: TranscriptTail) -> None:
    tail.path.mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        await tail.find("m_1")
