"""A transcript that moves: what one file proved stays proven."""

from pathlib import Path

from lifecycle.evidence import LOCATE_SECONDS, SessionTranscript
from tests.clock import FakeClock
from transport.vocabulary import Receipt


def parse(line: bytes) -> tuple[str, Receipt] | None:
    kind, _, message_id = line.decode().partition(" ")
    known = {"user": Receipt.CONSUMED, "queued": Receipt.INJECTED}
    return (message_id, known[kind]) if kind in known else None


async def test_a_transcript_that_does_not_exist_yet_proves_nothing(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "one"
    transcript = SessionTranscript(lambda: path if path.exists() else None, parse, clock)
    assert await transcript.find("m_1") is None
    path.write_text("user m_1\n")
    assert await transcript.find("m_1") is Receipt.CONSUMED


async def test_an_earlier_file_still_counts_after_the_client_moved_on(tmp_path: Path) -> None:
    clock, current = FakeClock(), [tmp_path / "one"]
    current[0].write_text("queued m_1\nuser m_0\n")
    transcript = SessionTranscript(lambda: current[0], parse, clock)
    assert await transcript.find("m_1") is Receipt.INJECTED
    current[0] = tmp_path / "two"
    clock.now += LOCATE_SECONDS
    assert await transcript.find("m_0") is Receipt.CONSUMED
    assert await transcript.find("m_1") is Receipt.INJECTED
    (tmp_path / "two").write_text("user m_1\n")
    assert await transcript.find("m_1") is Receipt.CONSUMED


async def test_a_marked_message_is_looked_for_in_what_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("queued m_1\n")
    transcript = SessionTranscript(lambda: path, parse, FakeClock())
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

    transcript = SessionTranscript(locate, parse, clock)
    for _ in range(10):
        await transcript.find("m_1")
    assert len(asked) == 1
    clock.now += LOCATE_SECONDS
    await transcript.find("m_1")
    assert len(asked) == 2
