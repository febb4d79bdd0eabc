import json

import pytest

from lifecycle.runtimes.envelopes import parse
from transport.vocabulary import Receipt

ID = "m_00000000000000000001"
TEXT = f'<peer-message-abc123 id="{ID}" from="alice">\nhello\n</peer-message-abc123>'


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT},
        {"message": {"role": "user", "content": [{"type": "text", "text": TEXT}]}},
        [1, None, True, {"parts": ["no", TEXT]}],
        TEXT,
    ],
)
def test_an_envelope_at_the_start_of_a_text_is_the_evidence(record: object) -> None:
    assert parse(json.dumps(record).encode()) == (ID, Receipt.CONSUMED)


def deep(depth: int) -> object:
    record: object = TEXT
    for _ in range(depth):
        record = [record]
    return record


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe",
        b'{"text": "hello"}',
        json.dumps({"text": f"I got {TEXT}"}).encode(),
        json.dumps({"text": TEXT}).encode()[:-5],
        json.dumps(deep(50)).encode(),
        b"[" * 100_000 + b"<peer-message-",
        f"said {ID}".encode(),
    ],
)
def test_anything_else_is_none(line: bytes) -> None:
    assert parse(line) is None


def test_a_plain_line_that_begins_with_the_tag() -> None:
    assert parse(TEXT.splitlines()[0].encode()) == (ID, Receipt.CONSUMED)
