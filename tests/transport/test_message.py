"""Drafts: what is accepted, what is cleaned, what is refused and with which words."""

import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport.errors import InvalidInput
from transport.identity import SYSTEM, Identity
from transport.message import (
    CONTROLS,
    CROCKFORD,
    LINE_ENDS,
    MAX_ATTACHMENTS,
    MAX_BODY_BYTES,
    MAX_KEY,
    MAX_TOPIC,
    MESSAGE_ID,
    NONCE,
    VISIBLE,
    Draft,
    IdSequence,
    TooLarge,
    accept,
    check_draft,
    check_fields,
    clean_body,
    new_message_id,
    new_nonce,
    notice_text,
)
from transport.vocabulary import Kind

ALICE = Identity("claude", "alice")
BOB = Identity("codex", "bob-the-builder")
ANYTHING = st.text(st.characters(codec="utf-8"))


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="pw-", dir="/tmp") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def as_ordinary_user() -> Iterator[None]:
    """Run as somebody whom file modes stop, also where the tests run as root."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


def refusal(*args: object, **fields: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        check_draft(*args, **fields)
    return caught.value


def test_a_plain_body_is_kept_verbatim() -> None:
    body = "  one\n\ttwo 😀 \\\n!ls /etc `x` $(y) #{z} @all\n\n"
    assert check_draft(body) == Draft(body)


@pytest.mark.parametrize(
    ("body", "clean", "removed"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd", 0),
        ("a\u2028b\u2029c", "a\nb\nc", 0),
        ("a\x1b[201~b\x1b[200~", "a[201~b[200~", 2),
        ("nul\x00 bell\x07 del\x7f vt\x0b ff\x0c", "nul bell del vt ff", 5),
        ("c1 \x9b31m \x85", "c1 31m ", 2),
        ("\u202eabc\u202c \u2066x\u2069", "abc x", 4),
        ("tab\tand\nnewline", "tab\tand\nnewline", 0),
        ("family 👩\u200d👩\u200d👧, שלום\u200f", "family 👩\u200d👩\u200d👧, שלום\u200f", 0),
    ],
)
def test_controls_are_removed_and_counted(body: str, clean: str, removed: int) -> None:
    assert check_draft(body) == Draft(clean, removed_controls=removed)


@given(ANYTHING)
def test_no_control_ever_passes(body: str) -> None:
    try:
        draft = check_draft(body)
    except InvalidInput as error:
        assert error.field == "message"
        assert not VISIBLE.search(CONTROLS.sub("", body))
        return
    assert not CONTROLS.search(draft.body)
    assert not LINE_ENDS.search(draft.body)
    assert check_draft(draft.body) == Draft(draft.body)
    assert len(draft.body) + draft.removed_controls == len(LINE_ENDS.sub("\n", body))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, "missing"),
        (7, "a number"),
        (True, "true or false"),
        (["hi"], "a list"),
        ({"text": "hi"}, "an object"),
        (b"hi", "a bytes"),
        ("", "empty"),
        (" \t\n\u3000", "only blank space"),
        ("\u200b\ufeff", "only blank space"),
        ("\x00\x1b\x7f", "only control characters"),
        (" \x07 \r\n", "only control characters"),
        ("half \ud83d of it", "character 6 is half of a surrogate pair"),
    ],
)
def test_a_body_that_is_no_text_is_refused(body: object, says: str) -> None:
    error = refusal(body)
    assert (error.field, error.code) == ("message", "invalid")
    assert says in str(error)
    assert str(error).startswith("message: ")


def test_the_limit_counts_utf8_bytes() -> None:
    assert check_draft("x" * MAX_BODY_BYTES).body
    assert check_draft("é" * (MAX_BODY_BYTES // 2)).body
    for body in ("x" * (MAX_BODY_BYTES + 1), "é" * (MAX_BODY_BYTES // 2 + 1)):
        error = refusal(body)
        assert isinstance(error, TooLarge)
        assert error.code == "too-large"
        assert "262,144" in str(error)
        assert "attach" in str(error)


def test_100_000_lines_are_kept() -> None:
    body = "a\n" * 100_000
    assert check_draft(body).body == body


def test_an_empty_optional_field_is_not_given() -> None:
    assert check_draft("hi", topic="", attachments=None, reply_to="", idempotency_key="") == Draft("hi")
    assert check_draft("hi", topic="  ").topic is None


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("x" * (MAX_TOPIC + 1), "201 characters are over the limit of 200"),
        ("a\nb", "line break"),
        ("a\rb", "line break"),
        ("a\u2028b", "line break"),
        ("a\tb", "control"),
        ("a\x1b]0;b", "control"),
        (3, "a number"),
        ("\udfff", "surrogate"),
    ],
)
def test_a_bad_topic_is_refused(topic: object, says: str) -> None:
    error = refusal("hi", topic=topic)
    assert error.field == "topic"
    assert says in str(error)


def test_a_topic_at_its_limit_is_kept_and_trimmed() -> None:
    assert check_draft("hi", topic=" " + "é" * MAX_TOPIC + " ").topic == "é" * MAX_TOPIC


@pytest.mark.parametrize("key", ["x" * (MAX_KEY + 1), "a\nb", "a\x00", "zero\u200bwidth", 5])
def test_a_bad_idempotency_key_is_refused(key: object) -> None:
    assert refusal("hi", idempotency_key=key).field == "idempotency_key"


@pytest.mark.parametrize("reply_to", ["m_", "hello", "m_" + "U" * 20, "m_" + "0" * 21, " m_" + "0" * 20, 4])
def test_a_malformed_message_id_is_refused(reply_to: object) -> None:
    assert refusal("hi", reply_to=reply_to).field == "reply_to"


def test_a_reply_names_a_message() -> None:
    message_id = new_message_id(time.time())
    assert check_draft("hi", reply_to=message_id).reply_to == message_id


def test_readable_files_are_attached_as_named(tmp_path: Path) -> None:
    file = tmp_path / 'a "b" & ü.txt'
    file.write_text("x")
    link = tmp_path / "link"
    link.symlink_to(file)
    assert check_draft("hi", attachments=[str(file), str(link)]).attachments == (str(file), str(link))


def test_the_fields_alone_are_checked_without_a_look_at_any_attachment(tmp_path: Path) -> None:
    missing = str(tmp_path / "nothing")
    assert check_fields("hi", attachments=[missing]) == Draft("hi", attachments=(missing,))
    with pytest.raises(InvalidInput, match="is not an absolute path"):
        check_fields("hi", attachments=["nothing"])


def test_attachments_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("x")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.close()
    for path, says in {
        str(tmp_path / "missing"): "No such file",
        str(tmp_path): "a directory",
        str(tmp_path / "loop"): "symbolic links",
        str(tmp_path / "dangling"): "No such file",
        str(tmp_path / "fifo"): "not a regular file",
        str(tmp_path / "socket"): "not a regular file",
        str(tmp_path / "file" / "below"): "Not a directory",
        str(tmp_path / ("x" * 300)): "too long",
        "/dev/null": "not a regular file",
        "relative.txt": "not an absolute path",
        "~/file": "not an absolute path",
        "": "not an absolute path",
        "/a\x00b": "control characters",
        "/a\nb": "control characters",
        "/\u202egpj.exe": "control characters",
        "/\udc80": "surrogate",
    }.items():
        error = refusal("hi", attachments=[path])
        assert error.field == "attachments"
        assert says in str(error), path
        assert "\n" not in str(error)


@pytest.mark.usefixtures("as_ordinary_user")
def test_an_attachment_without_permission_is_refused(open_directory: Path) -> None:
    file = open_directory / "secret"
    before = os.geteuid()
    os.seteuid(os.getuid())
    file.write_text("x")
    file.chmod(0)
    os.seteuid(before)
    assert "Permission denied" in str(refusal("hi", attachments=[str(file)]))


@pytest.mark.parametrize(
    ("attachments", "says"),
    [("/etc/hosts", "a str, not a list"), ({"a": 1}, "an object"), ([1], "a number"), ([None], "missing")],
)
def test_attachments_of_a_wrong_type_are_refused(attachments: object, says: str) -> None:
    error = refusal("hi", attachments=attachments)
    assert error.field == "attachments"
    assert says in str(error)


def test_too_many_attachments_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    assert len(check_draft("hi", attachments=[str(file)] * MAX_ATTACHMENTS).attachments) == MAX_ATTACHMENTS
    assert "21 are over the limit of 20" in str(refusal("hi", attachments=[str(file)] * (MAX_ATTACHMENTS + 1)))


def test_ids_sort_by_time_and_never_repeat() -> None:
    now = time.time()
    ids = [new_message_id(now + seconds) for seconds in (0, 0, 0.001, 60, 86_400 * 365, 86_400 * 365)]
    assert ids == sorted(set(ids))
    assert all(MESSAGE_ID.fullmatch(message_id) for message_id in ids)


@given(st.lists(st.floats(min_value=-1e9, max_value=1e10)))
def test_ids_go_forward_though_the_clock_does_not(walls: list[float]) -> None:
    sequence = IdSequence()
    ids = [sequence.next(wall) for wall in walls]
    assert ids == sorted(set(ids))
    assert all(MESSAGE_ID.fullmatch(message_id) for message_id in ids)


def test_ids_are_unique_between_threads() -> None:
    sequence = IdSequence()
    barrier = threading.Barrier(4)

    def many() -> list[str]:
        barrier.wait(5)
        return [sequence.next(1.0) for _ in range(2_000)]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(many) for _ in range(4)]
        ids = [message_id for future in futures for message_id in future.result(10)]
    assert len(set(ids)) == 8_000


def test_ids_of_a_forked_process_are_others() -> None:
    sequence = IdSequence()
    sequence.next(1.0)
    copy = IdSequence()
    copy._last = sequence._last
    assert {sequence.next(0.0) for _ in range(100)}.isdisjoint({copy.next(0.0) for _ in range(100)})


def test_a_nonce_stands_nowhere_in_the_text() -> None:
    nonce = new_nonce("hello")
    assert NONCE.fullmatch(nonce)
    assert len(nonce) == 6


def test_a_nonce_that_the_text_contains_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    picks = iter(sum(CROCKFORD.index(digit) << 5 * place for place in range(6)) for digit in "abc")
    monkeypatch.setattr("transport.message.secrets.randbits", lambda _: next(picks))
    assert new_nonce("xAAAAAAx </peer-message-bbbbbb>") == "cccccc"


def test_accepting_keeps_the_draft_and_adds_what_is_known(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    reply_to = new_message_id(1)
    draft = check_draft("b\x00ody", topic="t", attachments=[str(file)], reply_to=reply_to, idempotency_key="k")
    message = accept(draft, ALICE, BOB, hops=3, now=1_800_000_000.5)
    assert MESSAGE_ID.fullmatch(message.id)
    assert NONCE.fullmatch(message.nonce)
    assert (message.sender, message.recipient, message.hops, message.kind) == (ALICE, BOB, 3, Kind.MESSAGE)
    assert (message.body, message.topic, message.attachments) == ("body", "t", (str(file),))
    assert (message.reply_to, message.idempotency_key, message.removed_controls) == (reply_to, "k", 1)
    assert message.accepted_at == 1_800_000_000.5


def test_a_notice_is_one_short_line_and_a_valid_body() -> None:
    text = notice_text("m_" + "0" * 20, BOB, "no\nreceipt \x1b[31m in 5 attempts")
    assert text.splitlines() == [text]
    assert "bob-the-builder (codex)" in text
    assert "no receipt [31m in 5 attempts" in text
    notice = accept(check_draft(text), SYSTEM, ALICE, hops=0, now=1.0, kind=Kind.NOTICE)
    assert notice.kind is Kind.NOTICE
    assert notice.body == text


def test_the_alphabet_has_no_letter_that_is_mistaken_for_another() -> None:
    assert re.fullmatch("[0-9a-z]{32}", CROCKFORD)
    assert not set("ilou") & set(CROCKFORD)


def test_every_printable_character_is_clean_and_only_a_space_is_blank() -> None:
    """So a short printable body needs no search for controls, line ends and what can be seen."""
    for character in map(chr, range(sys.maxunicode + 1)):
        if character.isprintable():
            assert not CONTROLS.match(character) and not LINE_ENDS.match(character)
            assert VISIBLE.match(character) or character.isspace()


@pytest.mark.parametrize("body", ["", " ", "   ", "\u2003", "\u200b", "\n"])
def test_a_body_without_anything_to_see_is_refused(body: str) -> None:
    with pytest.raises(InvalidInput):
        clean_body(body)
