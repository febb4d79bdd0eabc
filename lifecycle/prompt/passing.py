"""How a composed prompt reaches a client: a file of its own, in parts where it takes only so much at once."""

import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lifecycle.prompt.compose import Composer
from lifecycle.prompt.layers import Flaw, Prompt
from lifecycle.runtimes.base import PROMPT_PARTS, LaunchSpec, Runtime
from lifecycle.session import SessionUnreadable
from lifecycle.states import Mode
from transport.errors import PeerwakeError
from transport.files import write_atomic
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.process import run
from transport.profile import Profile

HELP_SECONDS: Final = 5.0
FLAWS_LOGGED: Final = 10
LINE_WITHIN: Final = 1_000


def prompt_path(root: Root, identity: Identity) -> Path:
    """Return where the prompt of an identity's last wake is."""
    return root.run / "prompts" / f"{identity}.md"


def write_prompt(path: Path, prompt: Prompt, part_bytes: int | None) -> None:
    """Write a prompt (0600) and its parts beside it, `.1` and so on; parts of an earlier one go. Raises OSError."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(path, prompt.text, durable=False)
    parts = [] if part_bytes is None else split(prompt.text, part_bytes)
    for number in range(1, PROMPT_PARTS + 1):
        part = path.with_name(f"{path.name}.{number}")
        if number <= len(parts):
            write_atomic(part, parts[number - 1], durable=False)
        else:
            part.unlink(missing_ok=True)


def split(text: str, limit: int) -> list[str]:
    """Return a text in parts of at most `limit` bytes, cut between lines where one ends near the limit.

    Each but an only one begins with a comment that tells which it is.
    """
    data = text.encode()
    if len(data) <= limit:
        return [text]
    room, parts = limit - len(_heading(99, 99)), list[str]()
    while data:
        piece = data[:room].decode("utf-8", "ignore").encode()
        line = piece.rfind(b"\n") + 1
        if len(piece) < len(data) and line > len(piece) - LINE_WITHIN:
            piece = piece[:line]
        parts.append(piece.decode())
        data = data[len(piece) :]
    return [_heading(number, len(parts)) + part for number, part in enumerate(parts, 1)]


def _heading(number: int, count: int) -> str:
    return f"<!-- part {number} of {count} of your instructions -->\n"


class Abilities:
    """What installed clients can do, as their `--help` tells; each is asked once until its file changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int, str], bool] = {}
        self._mutex = threading.Lock()

    def has(self, program: str, word: str, env: Mapping[str, str]) -> bool:
        """Tell whether a client's help names `word`; False when it gives no answer. Blocks up to 5 s, once."""
        try:
            status = Path(program).stat()
            key = (os.path.realpath(program), status.st_mtime_ns, status.st_size, word)
            with self._mutex:
                if key in self._known:
                    return self._known[key]
            said = run((program, "--help"), deadline=HELP_SECONDS, env=env, cwd=Path("/"))
        except (PeerwakeError, OSError):
            return False
        with self._mutex:
            self._known[key] = word in said.stdout
        return word in said.stdout


@dataclass(frozen=True, slots=True)
class Prompts:
    """Gives each session its prompt; whatever goes wrong is logged and keeps nobody from being woken."""

    composer: Composer
    logs: Logs
    abilities: Abilities

    def prepare(self, profile: Profile, runtime: Runtime, spec: LaunchSpec) -> tuple[LaunchSpec, str | None]:
        """Write the prompt of a wake where the client will read it.

        Returns the start that passes it and the edition that is passed; the start as it is and None when
        nothing is.
        """
        identity = Identity(runtime.name, profile.name)
        path = prompt_path(self.composer.root, identity)
        prompt = self._composed(profile, runtime, identity)
        try:
            if prompt.is_bare:
                path.unlink(missing_ok=True)
                return spec, None
            write_prompt(path, prompt, runtime.prompt_part_bytes)
        except OSError as error:
            self.logs.lifecycle.write("prompt-failed", identity=identity, path=path, reason=error)
            return spec, None
        is_held = spec.mode is Mode.RESUME and self._held(identity, spec.session_ref) == prompt.edition
        size = len(prompt.text.encode())
        self.logs.lifecycle.write("prompt", identity=identity, edition=prompt.edition, bytes=size)
        return replace(spec, prompt_file=path, is_prompt_held=is_held), prompt.edition

    def _composed(self, profile: Profile, runtime: Runtime, identity: Identity) -> Prompt:
        try:
            prompt = self.composer.compose(profile, runtime.name)
        except (PeerwakeError, OSError) as error:
            prompt = Prompt(flaws=(Flaw(profile.cwd, str(error)),))
        for flaw in prompt.flaws[:FLAWS_LOGGED]:
            self.logs.lifecycle.write("prompt-flaw", identity=identity, path=flaw.path, reason=flaw.problem)
        return prompt

    def _held(self, identity: Identity, reference: str | None) -> str | None:
        """Return the edition that a conversation was given last, None when that is not known."""
        try:
            last = self.composer.sessions.last(identity)
        except SessionUnreadable:
            return None
        return last.prompt if last is not None and last.session_ref == reference else None

    def settled(self, spec: LaunchSpec, runtime: Runtime, program: str, env: Mapping[str, str]) -> LaunchSpec:
        """Return the start with what the installed client can do; asks it only where that makes a difference.

        Asked outside every session, so with the operator's `env`, and no other program than the operator's own.
        """
        if spec.prompt_file is None or spec.mode is not Mode.RESUME or not runtime.prompt_resume_needs:
            return spec
        is_operators = shutil.which(runtime.command(spec)[0], path=env.get("PATH", "")) == program
        able = is_operators and self.abilities.has(program, runtime.prompt_resume_needs, env)
        return replace(spec, is_prompt_renewable=able)
