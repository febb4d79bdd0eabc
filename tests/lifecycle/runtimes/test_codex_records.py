"""What the lines of a rollout of Codex prove, and what they do not."""

import json
from pathlib import Path

import pytest

from lifecycle.runtimes.codex_records import parse
from transport.vocabulary import Receipt

RECORDS = Path(__file__).parent / "records" / "codex.jsonl"
ID = "m_00000000000000000001"
TEXT = f'<peer-message-7k3f9q id="{ID}" from="bob">\nhello\n</peer-message-7k3f9q>'


def line(kind: str, **payload: object) -> bytes:
    return json.dumps({"timestamp": "2026-11-20T09:24:51.577Z", "type": kind, "payload": payload}).encode()


def message(role: str, *texts: str) -> bytes:
    content = [{"type": "input_text", "text": text} for text in texts]
    return line("response_item", type="message", role=role, content=content)


def test_a_real_rollout_proves_what_happened() -> None:
    found = [proof for record in RECORDS.read_bytes().splitlines() if (proof := parse(record))]
    assert found == [(ID, Receipt.CONSUMED), ("m_00000000000000000007", Receipt.CONSUMED)]


@pytest.mark.parametrize(
    ("record", "proof"),
    [
        (message("user", TEXT), (ID, Receipt.CONSUMED)),
        (message("user", "first", TEXT), (ID, Receipt.CONSUMED)),
        (message("user", f"look: {TEXT}"), None),
        (message("developer", TEXT), None),
        (message("assistant", TEXT), None),
        (line("event_msg", type="user_message", message=TEXT), None),
        (line("response_item", type="function_call_output", output=TEXT), None),
        (line("response_item", type="message", role="user", content=TEXT), None),
        (line("response_item", type="message", role="user", content=[{"type": "output_text", "text": TEXT}]), None),
        (line("compacted", message=TEXT), None),
        (b'{"type":"response_item","payload":"<peer-message-"}', None),
        (b'["<peer-message-"]', None),
        (message("user", TEXT)[:-9], None),
        (b"\xff<peer-message-", None),
        (b"", None),
    ],
)
def test_only_a_prompt_is_evidence(record: bytes, proof: tuple[str, Receipt] | None) -> None:
    assert parse(record) == proof
