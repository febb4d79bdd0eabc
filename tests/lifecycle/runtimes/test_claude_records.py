"""What the lines of a transcript of Claude Code prove, and what they do not."""

import json
from pathlib import Path

import pytest

from lifecycle.runtimes.claude_records import parse
from transport.vocabulary import Receipt

RECORDS = Path(__file__).parent / "records" / "claude.jsonl"
ID = "m_00000000000000000001"
TEXT = f'<peer-message-7k3f9q id="{ID}" from="bob">\nhello\n</peer-message-7k3f9q>'
INJECTED, CONSUMED = Receipt.INJECTED, Receipt.CONSUMED


def line(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "isSidechain": False, **fields}).encode()


def user(content: object, **fields: object) -> bytes:
    return line("user", message={"role": "user", "content": content}, **fields)


def text_block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_a_real_transcript_proves_what_happened() -> None:
    found = [proof for record in RECORDS.read_bytes().splitlines() if (proof := parse(record))]
    proofs = {number: [receipt for name, receipt in found if name == f"m_{number:0>20}"] for number in range(1, 10)}
    assert proofs == {
        1: [CONSUMED],
        2: [CONSUMED],
        3: [CONSUMED],
        4: [INJECTED, CONSUMED],
        5: [CONSUMED],
        6: [INJECTED, CONSUMED],
        7: [CONSUMED],
        8: [],
        9: [],
    }


@pytest.mark.parametrize(
    ("record", "proof"),
    [
        (user(TEXT), (ID, CONSUMED)),
        (user(f"\n{TEXT}\n"), (ID, CONSUMED)),
        (user([text_block(TEXT)]), (ID, CONSUMED)),
        (user([text_block("first"), text_block(TEXT)]), (ID, CONSUMED)),
        (user(f'\n\n<pasted_content id="bd30">\n{TEXT}\n</pasted_content id="bd30">\n'), (ID, CONSUMED)),
        (line("attachment", attachment={"type": "queued_command", "prompt": TEXT}), (ID, CONSUMED)),
        (line("attachment", attachment={"type": "queued_command", "prompt": [text_block(TEXT)]}), (ID, CONSUMED)),
        (line("queue-operation", operation="enqueue", content=TEXT), (ID, INJECTED)),
        (line("queue-operation", operation="remove", content=TEXT), None),
        (line("queue-operation", operation="dequeue"), None),
        (line("attachment", attachment={"type": "file", "prompt": TEXT}), None),
        (user(f"look: {TEXT}"), None),
        (user(f'see <pasted_content id="bd30">\n{TEXT}\n</pasted_content id="bd30">'), None),
        (user([{"type": "tool_result", "tool_use_id": "t", "content": TEXT}]), None),
        (user([{"type": "tool_result", "tool_use_id": "t", "content": [text_block(TEXT)]}]), None),
        (user(TEXT, isSidechain=True), None),
        (user(TEXT, isMeta=True), None),
        (line("assistant", message={"role": "assistant", "content": [text_block(TEXT)]}), None),
        (line("api-request-blob", message={"role": "user", "content": [text_block(TEXT)]}), None),
        (line("user"), None),
        (user({"text": TEXT}), None),
        (user([TEXT, 7, {"type": "text"}]), None),
        (b'["<peer-message-"]', None),
        (user(TEXT)[:-9], None),
        (b"\xff<peer-message-", None),
        (b"", None),
    ],
)
def test_only_a_prompt_is_evidence(record: bytes, proof: tuple[str, Receipt] | None) -> None:
    assert parse(record) == proof
