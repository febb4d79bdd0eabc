"""What is fuzzed: functions of bytes that fail only where the product does; `TARGETS` names them.

Each is run by atheris through `scripts/fuzz` and by Hypothesis in the suite.
"""

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from lifecycle import renewal, session
from lifecycle.environment import LaunchEnvInvalid, read_launch_env
from lifecycle.journal import Journal, JournalUnusable
from lifecycle.runtimes import claude, codex, command, envelopes, scripted
from lifecycle.runtimes.overrides import RuntimeInvalid, read_runtime
from lifecycle.session import SessionUnreadable
from mcp_server.serve import control, fast_lane, guard, lines, streams
from mcp_server.serve.bridge_session import Session as BridgeSession
from mcp_server.setting_sources import from_file
from tests.bulkheads import compartment
from tests.terminal import RULES
from transport import receipt
from transport.envelope import EnvelopeMalformed, opening_id, parse, render
from transport.errors import InvalidInput, PeerwakeError
from transport.hold import hold_of
from transport.identity import Identity, normalize, parse_identity
from transport.logline import fields_of, wall_of
from transport.logs import logfmt
from transport.message import accept, check_draft
from transport.paths import Root
from transport.profile import ProfileUnusable, decode_profile, encode_profile
from transport.receipt import TranscriptTail
from transport.screen import compare, read_screen, screen_of
from transport.sgr import split_faint
from transport.snapshot import RegistryUnusable, decode
from transport.tmux.commands import quote
from transport.tmux.parser import Block, Garbled, Parser
from transport.vocabulary import Receipt

HERE: Final = Path("/nowhere/profile.json")
BUILTIN: Final = {runtime.name: runtime for runtime in (claude.CLAUDE, codex.CODEX, scripted.SCRIPTED, command.COMMAND)}
READERS: Final = {
    "claude": claude.READER,
    "codex": codex.READER,
    "scripted": scripted.READER,
    "command": command.READER,
    "envelopes": envelopes.READER,
}
CONTROLS: Final = set(map(chr, (*range(0x20), *range(0x7F, 0xA0)))) - {"\n", "\t"}
NEEDLE: Final = "m_" + "0" * 20
_ROOM: Final = tempfile.TemporaryDirectory(prefix="pwfuzz-")
_PLACE: Final = Path(_ROOM.name)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _file(name: str, data: bytes) -> Path:
    path = _PLACE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def envelope(data: bytes) -> None:
    """Any text is an envelope or not; a body comes back verbatim whatever it is."""
    text = _text(data)
    try:
        found = parse(text)
    except EnvelopeMalformed:
        pass
    else:
        assert found.id == opening_id(text)
    try:
        draft = check_draft(text)
    except InvalidInput:
        return
    message = accept(draft, Identity("claude", "a"), Identity("codex", "b"), hops=0, now=0.0)
    rendered = render(message, intelligence="artificial")
    again = parse(rendered)
    assert again.body == draft.body
    assert again.nonce == message.nonce
    assert rendered.count(f"</peer-message-{message.nonce}>") == 1


def draft(data: bytes) -> None:
    """Arguments of any kind and value are a draft or refused by name."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = data if data[:1] == b"\xff" else data.decode("utf-8", "surrogateescape")
    many = value if isinstance(value, dict) else {}
    with suppress(InvalidInput):
        found = check_draft(
            many.get("body", value),
            topic=many.get("topic", value),
            attachments=many.get("attachments", ()),
            reply_to=many.get("reply_to"),
            idempotency_key=many.get("key", value),
        )
        assert not set(found.body) & CONTROLS
        assert not set(found.topic or "") & set("\n\t\r\x1b\x7f\x9b\u2028")


def names(data: bytes) -> None:
    """What is taken for a name can be no path, no option and nothing else."""
    text = _text(data)
    with suppress(InvalidInput):
        identity = parse_identity(text)
        assert str(identity) == text
        assert not set(text) & set("/.\0\n ")
    with suppress(InvalidInput):
        name = normalize(text)
        assert name == parse_identity(f"scripted-{name}").personality


def transcript(data: bytes) -> None:
    """A file in chunks is read as if it were read at once."""
    path = _file("transcript.jsonl", data)
    whole = [line for line in data.split(b"\n")[:-1] if NEEDLE.encode() in line]
    for name, reader in READERS.items():
        found: Receipt | None = None
        for line in whole:
            evidence = reader.parse(line)
            if evidence is not None and evidence[0] == NEEDLE and found is not Receipt.CONSUMED:
                found = evidence[1]
        chunk, receipt.CHUNK = receipt.CHUNK, 16  # type: ignore[misc]
        try:
            tail = TranscriptTail(path, reader.parse, compartment(path.parent))
            assert tail.search(NEEDLE, receipt._Progress()) is found, name
        finally:
            receipt.CHUNK = chunk  # type: ignore[misc]


def records(data: bytes) -> None:
    """Any line is evidence for one message or for none."""
    for reader in READERS.values():
        for line in (data, data.replace(b"\n", b" ")):
            found = reader.parse(line)
            assert found is None or isinstance(found[1], Receipt)


def screen(data: bytes) -> None:
    """Any screen is read, and keys go only where an input line was recognised that is empty."""
    head, _, body = data.partition(b"\n")
    cursor = (head[0] if head else 0, head[1] if len(head) > 1 else 0)
    shown = screen_of(_text(body), title=_text(head[2:]), cursor=cursor)
    for rules in (RULES, claude.SCREEN, codex.SCREEN, scripted.SCRIPTED.screen, command.COMMAND.screen):
        reading = read_screen(shown, rules)
        hold = hold_of(shown, reading, None, quiet=True, has_composer=True, takes_input_while_busy=True)
        assert hold is not None or reading.input_text == "", reading
        compare(reading, _text(head), rules)
        compare(reading, reading.input_text or "x", rules, counted=True)


def sgr(data: bytes) -> None:
    """Styles are taken out; nothing of the text moves."""
    text = _text(data)
    plain, solid = split_faint(text)
    assert len(plain) == text.count("\n") + 1
    assert len(solid) in (0, len(plain))
    assert all(len(solid[number]) <= len(line) for number, line in enumerate(plain)) if solid else True


def tmux(data: bytes) -> None:
    """A control client's stream gives the same in any pieces, or is garbled."""

    def read(parts: list[bytes]) -> list[object]:
        parser, found = Parser(), list[object]()
        try:
            for part in parts:
                found += parser.feed(part)
        except Garbled:
            found.append("garbled")
        return found

    whole = read([data])
    pieces = read([data[at : at + 3] for at in range(0, len(data), 3)])
    if "garbled" not in whole:
        assert pieces == whole
        assert all(isinstance(item, Block) or item for item in whole)
    word = _text(data)
    if "\0" not in word:
        assert not set(quote(word)) & set("\n\r\x1b")


def json_lines(data: bytes) -> None:
    """A line of a client is taken or refused by name."""
    for line in data.split(b"\n")[:4]:
        with suppress(PeerwakeError):
            lines.parse_hello(line)
        with suppress(PeerwakeError):
            control._parse(line)
        with suppress(guard.HttpRefusal):
            guard.check_message(line)
        fast_lane.plain_call(line, None)  # type: ignore[arg-type]
        if streams.parsed(line) is None:
            streams._malformed(line)
        bridge = BridgeSession()
        bridge.from_client(line)
        bridge.from_server(line)
        bridge.replay()
        bridge.give_up("gone")
        assert not bridge.pending


def decoders(data: bytes) -> None:
    """A file of ours that is damaged is named as such."""
    with suppress(ProfileUnusable):
        profile = decode_profile(HERE, data)
        assert decode_profile(HERE, encode_profile(profile).encode()) == profile
    with suppress(RegistryUnusable):
        decode(HERE, data)
    with suppress(SessionUnreadable):
        found = session.parse(_text(data))
        assert session.parse(session.dump(found)) == found
    renewal._parse(_text(data))
    root = Root(_PLACE)
    _file("state/change.json", data)
    with suppress(JournalUnusable):
        Journal(root).load()
    with suppress(LaunchEnvInvalid):
        for name, value in read_launch_env(_file("launch.env", data)).items():
            assert not name.startswith(("PEER", "TMUX"))
            assert "\0" not in value


def toml(data: bytes) -> None:
    """A runtime or a settings file is taken, or refused by field."""
    for name in ("claude", "mine"):
        with suppress(RuntimeInvalid):
            read_runtime(_file(f"{name}.toml", data), BUILTIN, frozenset(READERS))
    from_file(_file("config.toml", data))


def log_lines(data: bytes) -> None:
    """A line reads back as it was written, and is one line."""
    text = _text(data)
    wall_of(fields_of(text))
    line = logfmt(0.0, "event", {"value": text, "next": 1})
    assert line.isprintable()
    fields = fields_of(line)
    assert (fields["ev"], fields["value"], fields["next"]) == ("event", text, "1")
    assert len(fields) == 4


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (envelope, draft, names, transcript, records, screen, sgr, tmux, json_lines, decoders, toml, log_lines)
}

_RECORD: Final = {"type": "user", "text": f'<peer-message-000000 id="{NEEDLE}" from="a">\nx\n</peer-message-000000>'}
_SESSION: Final = dict.fromkeys(("host", "tenant_id", "cwd", "fence", "session_id"), "x") | {
    "version": 1,
    "identity": "scripted-a",
    "woke_at": 1.0,
    "mode": "fresh",
    "tmux": None,
    "pane": {"pid": 1, "started": "2"},
}
_PROFILE: Final = {
    "version": 1,
    "name": "a",
    "runtimes": ["scripted"],
    "default_runtime": "scripted",
    "cwd": "/x",
    "host": "h",
    "tenant_id": "t",
    "created_at": "now",
}
_CALL: Final = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_peers", "arguments": {}}}
SEEDS: Final[dict[str, tuple[bytes, ...]]] = {
    "envelope": (_RECORD["text"].encode(), b"\xe2\x80\xa8</peer-message-000000>"),
    "draft": (b'{"body": "x", "topic": "t", "attachments": ["/etc/hosts"], "reply_to": "m_", "key": "k"}', b"x"),
    "names": (b"scripted-alice", b"../../x", b"scripted-../x", "Ünï".encode()),
    "transcript": (json.dumps(_RECORD).encode() + b"\n", b"x\n" + json.dumps(_RECORD).encode() + b"\n" + b"y" * 40),
    "records": (
        json.dumps(_RECORD).encode(),
        json.dumps({"type": "user", "message": {"content": [{"type": "text", "text": _RECORD["text"]}]}}).encode(),
        json.dumps(
            {
                "type": "response_item",
                "payload": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": _RECORD["text"]}],
                },
            }
        ).encode(),
    ),
    "screen": (
        ("\x00\x01t\n" + "─" * 12 + "\n❯\u00a0[Pasted text +3 lines]\n" + "─" * 12 + "\n  ready").encode(),
        "\x00\x01t\n› [Pasted Content 1200 chars]\n  gpt · ~/x".encode(),
    ),
    "sgr": (b"\x1b[2mfaint\x1b[0m\n\x1b[38;5;2mx\x1b[7m \x1b[27;2mghost\x1b(B\x1b]0;t\x07", b"\x1b"),
    "tmux": (b"%begin 1 2 1\nx\n%end 1 2 1\n%exit\n", b"%begin 1 2 1\n%end 1 3 1\n%error 1 2 1\n"),
    "json_lines": (
        b'{"peerwake": 1, "role": "mcp", "credential": "x", "cwd": "/"}',
        b'{"id": 1, "verb": "ping", "args": {}}',
        json.dumps(_CALL).encode(),
        b'{"jsonrpc":"2.0","id":null,"method":"notifications/cancelled","params":{"requestId":1}}',
    ),
    "decoders": (
        json.dumps(_SESSION).encode(),
        json.dumps(_PROFILE).encode(),
        b'{"version": 1, "peers": [' + json.dumps(_PROFILE).encode() + b"]}",
        b'{"version": 1, "change": "remove", "place": {"name": "a", "cwd": "/x"}, "is_purged": true}',
        b'{"replaces": null, "seed": "x", "at_turn_end": true}',
        b"export A='b'\n# c\nD=e",
    ),
    "toml": (
        b'extends = "claude"\nargv = ["x", "{cwd}"]\n[screen]\ncomposer = "^(?P<text>.*)$"\n[[dialogs]]\nname = "x"\n',
        b'port = 8765\nname = "x"\n',
    ),
    "log_lines": (b'ts=2026-01-01T00:00:00+00:00 ev=x a="b\\n\\u001b" c=d', b"ts=9999-12-31T23:59:59-23:59 "),
}
