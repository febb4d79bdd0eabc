"""A transcript that moves: what one file proved stays proven."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from lifecycle import evidence
from lifecycle.evidence import LOCATE_SECONDS, SessionTranscript
from tests.bulkheads import compartment, pipes
from tests.clock import FakeClock
from transport.bulkhead import NoAnswer
from transport.vocabulary import Receipt


def parse(line: bytes) -> tuple[str, Receipt] | None:
    kind, _, message_id = line.decode().partition(" ")
    known = {"user": Receipt.CONSUMED, "queued": Receipt.INJECTED}
    return (message_id, known[kind]) if kind in known else None


def transcript_of(directory: Path, locate: Callable[[], Path | None], clock: FakeClock) -> SessionTranscript:
    return SessionTranscript(locate, parse, clock, compartment(directory), directory)


async def test_a_transcript_that_does_not_exist_yet_proves_nothing(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "one"
    transcript = transcript_of(tmp_path, lambda: path if path.exists() else None, clock)
    assert await transcript.find("m_1") is None
    assert await transcript.sizes(locate=True) == ()
    path.write_text("user m_1\n")
    assert await transcript.find("m_1") is Receipt.CONSUMED


async def test_an_earlier_file_still_counts_after_the_client_moved_on(tmp_path: Path) -> None:
    clock, current = FakeClock(), [tmp_path / "one"]
    current[0].write_text("queued m_1\nuser m_0\n")
    transcript = transcript_of(tmp_path, lambda: current[0], clock)
    assert await transcript.find("m_1") is Receipt.INJECTED
    current[0] = tmp_path / "two"
    clock.now += LOCATE_SECONDS
    assert await transcript.find("m_0") is Receipt.CONSUMED
    assert await transcript.find("m_1") is Receipt.INJECTED
    (tmp_path / "two").write_text("user m_1\n")
    assert await transcript.find("m_1") is Receipt.CONSUMED


async def test_what_the_client_took_before_this_process_looked_counts_after_it_moved_on(tmp_path: Path) -> None:
    clock, one, two = FakeClock(), tmp_path / "one", tmp_path / "two"
    one.write_text("user m_1\nqueued m_2\n")
    files = compartment(tmp_path)
    transcript = SessionTranscript(lambda: two if two.exists() else None, parse, clock, files, tmp_path, lambda: [one])
    assert await transcript.find("m_1") is Receipt.CONSUMED
    await transcript.mark("m_2")
    two.write_text("user m_2\n")
    clock.now += LOCATE_SECONDS
    assert await transcript.find("m_2") is Receipt.CONSUMED


async def test_a_marked_message_is_looked_for_in_what_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("queued m_1\n")
    transcript = transcript_of(tmp_path, lambda: path, FakeClock())
    await transcript.mark("m_1")
    assert await transcript.find("m_1") is None
    with path.open("a") as file:
        file.write("user m_1\n")
    assert await transcript.find("m_1") is Receipt.CONSUMED


async def test_the_place_is_not_asked_for_at_every_look(tmp_path: Path) -> None:
    clock, asked = FakeClock(), []
    path = tmp_path / "one"
    path.touch()

    def locate() -> Path:
        asked.append(1)
        return path

    transcript = transcript_of(tmp_path, locate, clock)
    for _ in range(10):
        await transcript.find("m_1")
    assert len(asked) == 1
    clock.now += LOCATE_SECONDS
    await transcript.find("m_1")
    assert len(asked) == 2


async def test_a_place_that_gives_no_answer_is_told_by_every_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "FOUND_SECONDS", 0.1)
    with pipes(tmp_path, 1) as (pipe,):
        path = tmp_path / "t.jsonl"
        path.write_text("user m_1\n")

        def locate() -> Path:
            pipe.open()
            return path

        files = compartment(tmp_path)
        transcript = SessionTranscript(locate, parse, FakeClock(), files, pipe.path)
        for question in (transcript.find, transcript.mark, transcript.again):
            with pytest.raises(NoAnswer, match="pipe-0 g"):
                await question("m_1")
        with pytest.raises(NoAnswer):
            await transcript.sizes(locate=True)
        assert await files.run(path, path.read_text) == "user m_1\n"
        pipe.release()
        with anyio.fail_after(60):
            while "ev=late-answer" not in (tmp_path / "lifecycle.log").read_text():
                await anyio.lowlevel.checkpoint()
        assert await transcript.find("m_1") is Receipt.CONSUMED
        assert await transcript.sizes(locate=False) == (9,)
