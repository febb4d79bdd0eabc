"""Evidence in growing, cut, replaced and broken transcripts."""

import json
import os
import threading
from pathlib import Path

import anyio
import pytest

from tests.bulkheads import compartment
from tests.held_paths import held
from tests.terminal import parse, until
from transport import receipt
from transport.bulkhead import NoAnswer
from transport.receipt import TranscriptTail
from transport.vocabulary import Receipt


def record(message_id: str, kind: str = "user", body: str = "x") -> str:
    return json.dumps({"type": kind, "text": f'<peer-message-1 id="{message_id}">\n{body}'}) + "\n"


@pytest.fixture
def tail(tmp_path: Path) -> TranscriptTail:
    return TranscriptTail(tmp_path / "t.jsonl", parse, compartment(tmp_path))


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
    again = TranscriptTail(tail.path, parse, compartment(tail.path.parent))
    assert await again.find("m_1") is Receipt.CONSUMED


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


async def test_a_file_that_gives_no_answer_is_an_error_and_stops_nobody(tmp_path: Path) -> None:
    tail = TranscriptTail(tmp_path / "t.jsonl", parse, compartment(tmp_path, 0.2))
    append(tail, record("m_1"))
    with held(tail.path) as paths:
        with pytest.raises(OSError, match=r"t\.jsonl gave no answer in 0\.2 s"):
            await tail.find("m_1")
        for number, ask in enumerate((tail.find, tail.again, tail.mark)):
            with pytest.raises(NoAnswer, match=r"t\.jsonl gives no answer, an earlier look"):
                await ask(f"m_{number}")
        assert paths.waiting == 1
        paths.release()
        await until(lambda: "ev=late-answer" in (tmp_path / "lifecycle.log").read_text())
    patient = TranscriptTail(tail.path, parse, compartment(tmp_path))
    assert await patient.find("m_1") is Receipt.CONSUMED


async def test_a_long_file_is_read_in_steps(tail: TranscriptTail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt, "CHUNK", 100)
    monkeypatch.setattr(receipt, "STEP", 250)
    append(tail, record("m_0", body="y" * 40) * 50 + record("m_1", body="z" * 900) + record("m_2"))
    progress = receipt._Progress()
    assert tail.search("m_2", progress) is None
    assert progress.has_more
    assert progress.scanned == 300
    for name in ("m_0", "m_1", "m_2"):
        assert await tail.find(name) is Receipt.CONSUMED
    assert await tail.find("m_3") is None


async def test_a_search_that_was_given_up_is_not_overtaken_by_the_next(tmp_path: Path) -> None:
    """What it has read and not yet looked through would be read by nobody."""
    reads, goes_on = threading.Event(), threading.Event()

    def slow(line: bytes) -> tuple[str, Receipt] | None:
        reads.set()
        goes_on.wait(60)
        return parse(line)

    tail, found = TranscriptTail(tmp_path / "t.jsonl", slow, compartment(tmp_path)), list[Receipt | None]()
    append(tail, record("m_1"))

    async def find() -> None:
        found.append(await tail.find("m_1"))

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(find)
            await until(reads.is_set)
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(find)
            await until(lambda: found or len(tail._files._running) == 2)
            goes_on.set()
    finally:
        goes_on.set()
    assert found == [Receipt.CONSUMED]
