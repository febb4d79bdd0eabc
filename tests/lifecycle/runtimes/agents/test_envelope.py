from pathlib import Path

import pytest

from lifecycle.runtimes.agents import envelope
from transport.envelope import place_body, render
from transport.identity import Identity
from transport.message import Message, accept, check_draft


def message(body: str, **fields) -> Message:
    draft = check_draft(body, **fields)
    return accept(draft, Identity("claude", "alice"), Identity("scripted", "bob"), hops=0, now=1_795_000_000.0)


@pytest.mark.parametrize(
    "body", ["hello", "two\nlines\n\n", "  indented", '<peer-message-x id="y">\n</peer-message-x>']
)
def test_reads_what_the_transport_renders(body: str) -> None:
    sent = message(body, topic='say "<hi> & bye"')
    letter = envelope.read(render(sent, intelligence="artificial") + "\n")
    assert letter.body == body
    assert letter.attributes["id"] == sent.id
    assert letter.attributes["from"] == "alice"
    assert letter.attributes["topic"] == 'say "<hi> & bye"'


def test_reads_attachments(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    letter = envelope.read(render(message("x\ny", attachments=[str(tmp_path / "a")]), intelligence="artificial"))
    assert letter.attachments == [str(tmp_path / "a")]
    assert letter.body == "x\ny"


def test_reads_a_long_body_from_its_file(tmp_path: Path) -> None:
    sent = message("long\n" * 5000)
    letter = envelope.read(render(sent, intelligence="absent", body_file=place_body(sent, tmp_path)))
    assert letter.body == "long\n" * 5000


def test_a_body_file_that_is_gone_leaves_the_excerpt(tmp_path: Path) -> None:
    sent = message("long\n" * 5000)
    letter = envelope.read(render(sent, intelligence="absent", body_file=tmp_path / "gone"))
    assert "too long to stand here" in letter.body


@pytest.mark.parametrize(
    "text",
    [
        "just typed",
        '<peer-message-abc123 id="m_1" from="a">\nno end',
        '<peer-message-abc123 id="m_1">\nno sender\n</peer-message-abc123>',
        '<peer-message-abc123 id="m_1" from="a">\nx\n</peer-message-zzz>',
        'before <peer-message-abc123 id="m_1" from="a">\nx\n</peer-message-abc123>',
        "<peer-message->\n",
        "",
    ],
)
def test_anything_else_is_just_text(text: str) -> None:
    letter = envelope.read(text)
    assert letter.body == text
    assert letter.attributes == {}
