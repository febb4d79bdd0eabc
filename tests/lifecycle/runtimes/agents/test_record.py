"""The agent's transcript on a disk that takes only part of a record."""

import json
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.runtimes.agents.record import Transcript


@pytest.fixture
def limit() -> Iterator[None]:
    """Let files grow to 400 bytes: the write that crosses it is cut, and the next one fails."""
    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_half_a_record_is_taken_back(tmp_path: Path, limit: None) -> None:
    transcript = Transcript(str(tmp_path), "s", {})
    assert transcript.write("user", text="one")
    assert not transcript.write("user", text="x" * 400)
    assert "cannot be written" in transcript.problem
    assert transcript.write("user", text="two")
    assert transcript.problem == ""
    transcript.close()
    records = [json.loads(line) for line in Path(transcript.path).read_text().splitlines()]
    assert [record.get("text") for record in records] == [None, "one", "two"]
