"""The agents' own transcripts, read as they grow: what each took, sent and was pressed."""

import ast
import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.bodies import digest, to_arrive
from tests.faults.books import NOTICE, Pressed, Reply, Sent, Taken, Told
from tests.faults.fault import Peer
from tests.faults.nobody import POLICY

PLACE: Final = Path(".peerwake/runtimes/scripted")
OPENING: Final = re.compile(r'<peer-message-([0-9a-z]{6,32}) id="(m_[0-9a-z]{20})"((?: [a-z-]+="[^"<>\n]*")*)>\n')
ATTRIBUTE: Final = re.compile(r' ([a-z-]+)="([^"]*)"')
MESSAGE_ID: Final = re.compile(r"m_[0-9a-z]{20}")
UNCERTAIN: Final = re.compile(r"may have been|may or may not|has gone|no peerwake server answers")
SHOWN: Final = 1 << 14
SYSTEM: Final = "peerwake"
OPENING_TOPIC: Final = "initial-prompt"


@dataclass(slots=True)
class _File:
    """How far one transcript has been read."""

    session: str
    is_worker: bool
    offset: int = 0
    line: int = 0
    began: float = 0.0
    rest: bytes = b""
    calls: list[dict[str, Any]] = field(default_factory=list)


class Transcripts:
    """All transcripts of the peers of a run; `read` takes what is new, from one thread at a time."""

    def __init__(self, peers: list[Peer]) -> None:
        self._peers = peers
        self._files: dict[Path, _File] = {}
        self._mutex = threading.Lock()
        self.taken: list[Taken] = []
        self.sent: list[Sent] = []
        self.pressed: list[Pressed] = []
        self.in_flight: list[Pressed] = []
        self._replies: list[Reply] = []
        self.consumed: dict[str, int] = {}

    @property
    def replies(self) -> list[Reply]:
        """All replies of workers, also those whose answer is not there (yet)."""
        with self._mutex:
            calls = [(file.session, call) for file in self._files.values() if file.is_worker for call in file.calls]
        return [*self._replies, *(_reply(session, call, Told.UNKNOWN, float("inf")) for session, call in calls)]

    def read(self) -> None:
        """Take every complete line that was not read before."""
        with self._mutex:
            for peer in self._peers:
                with suppress(FileNotFoundError):
                    for path in sorted((peer.cwd / PLACE).glob("*.jsonl")):
                        self._read_file(peer, path)

    def finish(self) -> None:
        """Take the end of every file; a call without its result may or may not have been accepted."""
        self.read()
        for path, file in self._files.items():
            self._unanswered(next(peer for peer in self._peers if path.is_relative_to(peer.cwd)), file)

    def _unanswered(self, peer: Peer, file: _File) -> None:
        """Enter the call that has no result: the agent ended before it, or had no room for it on its disk."""
        for call in file.calls:
            self.sent.append(self._sent(peer, call, float("inf"), Told.UNKNOWN, None, "no result"))
            if file.is_worker:
                self._replies.append(_reply(file.session, call, Told.UNKNOWN, float("inf")))
        file.calls.clear()

    def _read_file(self, peer: Peer, path: Path) -> None:
        file = self._files.setdefault(path, _File(path.stem, peer.policy == "ephemeral"))
        with path.open("rb") as stream:
            stream.seek(file.offset)
            data = stream.read()
        file.offset += len(data)
        *lines, file.rest = (file.rest + data).split(b"\n")
        for line in lines:
            file.line += 1
            with suppress(ValueError):
                self._take(peer, file, json.loads(line))

    def _take(self, peer: Peer, file: _File, record: dict[str, Any]) -> None:
        # Its first record is not there where the disk was full.
        file.began = file.began or record["at"]
        match record["type"]:
            case "user":
                taken = read_prompt(peer.identity, file.session, (file.began, file.line), record["at"], record["text"])
                self.taken.append(taken)
                if not taken.is_opening:
                    self._count(peer.identity)
                self._given_up(taken)
                self._unanswered(peer, file)
            case "tool_use":
                self._unanswered(peer, file)
                file.calls.append(record)
            case "tool_result" if record.get("tool") == "send_to_peer":
                self._answered(peer, file, record)
            case "tool_result" | "answer":
                what = f"a dialog was answered: {record.get('text')}"
                self.pressed.append(Pressed(peer.identity, what, at=record["at"]))
            case "key" | "in-flight" as kind:
                keys = ast.literal_eval(record["text"]).decode("utf-8", "replace")
                book = self.pressed if kind == "key" else self.in_flight
                book.append(Pressed(peer.identity, json.dumps(record), keys, record["at"], record.get("over", "")))

    def _count(self, identity: str) -> None:
        self.consumed[identity] = self.consumed.get(identity, 0) + 1

    def _given_up(self, taken: Taken) -> None:
        """Make room at somebody who takes nothing."""
        found = NOTICE.search(taken.text) if taken.notice_of else None
        identity = None if found is None else f"{found[3]}-{found[2]}"
        if any(peer.identity == identity and peer.policy == POLICY for peer in self._peers):
            self._count(str(identity))

    def _answered(self, peer: Peer, file: _File, record: dict[str, Any]) -> None:
        if not file.calls:
            return
        call, text = file.calls.pop(0), str(record["text"])
        found = MESSAGE_ID.search(text)
        if not record["is_error"] and found is not None:
            is_delivered = text.startswith("Delivered")
            sent = self._sent(peer, call, record["at"], Told.ACCEPTED, found[0], text, delivered=is_delivered)
        else:
            told = Told.UNKNOWN if UNCERTAIN.search(text) else Told.REFUSED
            sent = self._sent(peer, call, record["at"], told, None, text)
        if file.is_worker and sent.told is not Told.REFUSED:
            self._replies.append(_reply(file.session, call, sent.told, record["at"]))
        self.sent.append(sent)

    def _sent(
        self,
        peer: Peer,
        call: dict[str, Any],
        ended: float,
        told: Told,
        message_id: str | None,
        note: str,
        *,
        delivered: bool = False,
    ) -> Sent:
        given = call["arguments"]
        body = to_arrive(str(given["message"]))
        mark = f"relay of {peer.name} at {call['at']}"
        recipient = f"scripted-{given['personality']}"
        return Sent(
            mark, peer.identity, recipient, digest(body), call["at"], ended, told, message_id, delivered, note[:300]
        )


def _reply(session: str, call: dict[str, Any], told: Told, at: float) -> Reply:
    given = call["arguments"]
    return Reply(session, at, given.get("reply_to"), digest(to_arrive(str(given["message"]))), told)


def read_prompt(identity: str, session: str, place: tuple[float, int], at: float, text: str) -> Taken:
    """Return a prompt as the books want it: whose message it is, and whether it is exactly one envelope."""
    found = OPENING.match(text)
    if found is None:
        return Taken(identity, session, place, at, None, None, digest(text), False, text[:SHOWN])
    attributes, is_whole = dict(ATTRIBUTE.findall(found[3])), is_envelope(text)
    body = _body(text[found.end() : -len(_end(found[1]))], attributes) if is_whole else text
    sender = attributes.get("from")
    is_opening = sender == SYSTEM and attributes.get("topic") == OPENING_TOPIC
    notice = NOTICE.match(body) if sender == SYSTEM else None
    return Taken(
        identity,
        session,
        place,
        at,
        found[2],
        sender,
        digest(body),
        is_whole,
        text[:SHOWN],
        (notice[1] if notice else "") if sender == SYSTEM and not is_opening else None,
        is_opening,
    )


def is_envelope(text: str) -> bool:
    """Tell whether a text is exactly one envelope."""
    found = OPENING.match(text)
    end = "" if found is None else _end(found[1])
    return bool(end) and text.endswith(end) and text.count(end[1:]) == 1


def _end(nonce: str) -> str:
    return f"\n</peer-message-{nonce}>"


def _body(inner: str, attributes: dict[str, str]) -> str:
    """Return the body: what stands between the tags, or what the file holds that they name."""
    if "body-file" not in attributes:
        return inner
    try:
        return Path(attributes["body-file"]).read_bytes().decode("utf-8", "replace")
    except OSError as error:
        return f"{error}\n{inner}"


def consumptions(taken: list[Taken]) -> Iterator[tuple[str, str]]:
    """Yield recipient and id of each message that was taken."""
    for each in taken:
        if each.message_id is not None:
            yield each.identity, each.message_id
