"""What the lines of the bundled agent's transcript prove, and what they do not."""

import json

import pytest

from lifecycle.runtimes.scripted_records import parse
from transport.vocabulary import Receipt

ID = "m_00000000000000000001"
TEXT = f'<peer-message-abc123 id="{ID}" from="alice">\nhello\n</peer-message-abc123>'


def line(kind: str, **fields: object) -> bytes:
    return json.dumps({"type": kind, "at": 1.0, **fields}).encode()


@pytest.mark.parametrize(
    ("record", "proof"),
    [
        (line("user", text=TEXT), (ID, Receipt.CONSUMED)),
        (line("queued", text=TEXT), (ID, Receipt.INJECTED)),
        (line("user", text=f"look: {TEXT}"), None),
        (line("user", text="typed"), None),
        (line("user", text=7), None),
        (line("user"), None),
        (line("assistant", text=TEXT), None),
        (line("tool_result", text=TEXT), None),
        (line("user", text=TEXT)[:-4], None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_only_a_prompt_is_evidence(record: bytes, proof: tuple[str, Receipt] | None) -> None:
    assert parse(record) == proof
