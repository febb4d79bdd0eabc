"""One sender's connection over one transport, whose answers are sorted by what the sender knows afterwards."""

import http.client
import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.contract.wires import HttpWire, LineWire, ProcessWire, SseWire, Wire, wire
from tests.faults.books import Told
from tests.live.world import TOP, World

KINDS: Final = ("http", "sse", "bridge", "lines", "unix-http")
CLI: Final = "cli"
BROKEN: Final = (OSError, ValueError, KeyError, TypeError, AssertionError, StopIteration, http.client.HTTPException)
UNCERTAIN: Final = frozenset({"spool-uncertain", "unverified", "internal", "bad-credential", "not-allowed"})
DEAD_LETTER: Final = "dead-letter"
CLI_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt told: `structure` of an accepted message, `note` of anything else."""

    told: Told
    structure: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(slots=True)
class Connection:
    """An MCP connection that is opened when it is needed and dropped when it breaks."""

    world: World
    kind: str
    token: str
    _wire: Wire | None = None

    def send(self, arguments: dict[str, Any]) -> Answer:
        """Make one attempt."""
        try:
            self._wire = self._wire or wire(self.kind, self.world, self.token)
            answer = self._wire.call("send_to_peer", arguments)
            if "result" not in answer:
                self.drop()
                return Answer(Told.UNKNOWN, note=json.dumps(answer)[:500])
            return sort(answer["result"])
        except BROKEN as error:
            self.drop()
            return Answer(Told.UNKNOWN, note=f"{type(error).__name__}: {error}")

    def cut(self, arguments: dict[str, Any]) -> None:
        """Send a call and cut the connection before its answer can be read."""
        with suppress(*BROKEN):
            self._wire = self._wire or wire(self.kind, self.world, self.token)
            params = {"name": "send_to_peer", "arguments": arguments}
            line = json.dumps({"jsonrpc": "2.0", "id": 1_000_000, "method": "tools/call", "params": params}).encode()
            match self._wire:
                case HttpWire() as over_http:
                    over_http._connection.request("POST", "/mcp", line, over_http._headers)
                case LineWire() | SseWire() as other:
                    other.tell(line)
        self.drop()

    def drop(self) -> None:
        """Close what is open; a bridge may have been killed or stopped."""
        with suppress(*BROKEN, subprocess.TimeoutExpired):
            if isinstance(self._wire, ProcessWire):
                self._wire.process.kill()
            if self._wire is not None:
                self._wire.close()
        self._wire = None


@dataclass(slots=True)
class CommandLine:
    """`peerwake send` in a peer's directory, which sends as that peer; elsewhere as the operator."""

    world: World
    cwd: Path

    def send(self, arguments: dict[str, Any]) -> Answer:
        words = ["send", arguments["personality"], "-", "--json", "--key", arguments["idempotency_key"]]
        if arguments.get("wait_seconds") is not None:
            words += ["--wait", f"{arguments['wait_seconds']:g}"]
        try:
            done = self._run(words, arguments["message"])
            structure = json.loads(done.stdout) if done.stdout else {}
        except (subprocess.TimeoutExpired, ValueError) as error:
            return Answer(Told.UNKNOWN, note=repr(error)[:300])
        if done.returncode in (0, 3) and "message_id" in structure:
            return Answer(Told.ACCEPTED, structure)
        note = f"exit {done.returncode}: {(done.stderr or done.stdout)[-400:]}"
        error = structure.get("error") or {}
        if error.get("code") == DEAD_LETTER:
            return given_up(error["message"])
        return Answer(Told.REFUSED if done.returncode == 4 else Told.UNKNOWN, note=note)

    def cut(self, arguments: dict[str, Any]) -> None:
        """Nothing is cut: the answer of an attempt is lost."""
        self.send(arguments)

    def drop(self) -> None:
        """There is nothing open between two commands."""

    def _run(self, words: list[str], body: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "mcp_server", *words]
        return subprocess.run(
            argv,
            env=self.world.env | {"PYTHONPATH": str(TOP)},
            cwd=self.cwd,
            input=body,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=CLI_SECONDS,
            check=False,
        )


def sort(result: dict[str, Any]) -> Answer:
    """Return what the wire result of a send tells."""
    structure = result.get("structuredContent") or {}
    note = " ".join(str(part.get("text")) for part in result.get("content", []))
    if not result.get("isError"):
        return Answer(Told.ACCEPTED, structure, note) if "message_id" in structure else Answer(Told.UNKNOWN, note=note)
    code = structure.get("code", "")
    if code == DEAD_LETTER:
        return given_up(note)
    told = Told.UNKNOWN if code in UNCERTAIN or not code else Told.REFUSED
    return Answer(told, note=f"{code}: {note}")


def given_up(note: str) -> Answer:
    """Return what is known of a message that was accepted and given up: its notice comes like any other."""
    return Answer(Told.ACCEPTED, {"message_id": note.split()[0], "status": "queued"}, note)
