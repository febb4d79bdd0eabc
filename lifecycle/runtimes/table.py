"""The table of runtimes: built in, and those of the operator's `runtimes/*.toml`."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lifecycle.runtimes import claude, codex, command, envelopes, scripted
from lifecycle.runtimes.base import Locate, Reader, Runtime, SessionFacts
from lifecycle.runtimes.overrides import RuntimeInvalid, read_runtime
from lifecycle.states import RuntimeKind
from transport.errors import PeerwakeError

BUILT_IN: Final[Mapping[str, Runtime]] = {
    runtime.name: runtime for runtime in (claude.CLAUDE, codex.CODEX, scripted.SCRIPTED, command.COMMAND)
}
READERS: Final[Mapping[str, Reader]] = {
    "claude": claude.READER,
    "codex": codex.READER,
    "scripted": scripted.READER,
    "command": command.READER,
    "envelopes": envelopes.READER,
}
CLOCK_SLACK_SECONDS: Final = 2.0


class UnknownRuntime(PeerwakeError):
    """No runtime has this name; the user corrects it or adds runtimes/NAME.toml."""

    code = "unknown-runtime"


@dataclass(frozen=True, slots=True)
class Table:
    """The runtimes in force, and the files that were refused."""

    runtimes: Mapping[str, Runtime]
    problems: tuple[RuntimeInvalid, ...] = ()

    def get(self, name: str) -> Runtime:
        """Return a runtime as it is for every peer; raises UnknownRuntime."""
        runtime = self.runtimes.get(name)
        if runtime is None:
            for problem in self.problems:
                if problem.path.stem == name:
                    raise UnknownRuntime(f"runtime {name!r} cannot be used: {problem}")
            known = ", ".join(sorted(self.runtimes))
            raise UnknownRuntime(f"there is no runtime {name!r}; there are {known}, or add runtimes/{name}.toml")
        return runtime

    def services(self) -> frozenset[str]:
        """Return the names of the runtimes that a service manager runs."""
        return frozenset(name for name, runtime in self.runtimes.items() if runtime.kind is RuntimeKind.SERVICE)

    def for_peer(self, name: str, cwd: Path) -> Runtime:
        """Return a runtime as it is for the peer that works in `cwd`, reading that peer's program if it has one.

        Raises UnknownRuntime, or RuntimeInvalid for a peer whose program cannot be read.
        """
        runtime = self.get(name)
        if runtime.reader != "command" or runtime.argv:
            return runtime
        return command.with_program(runtime, command.load_program(cwd), command.program_path(cwd))

    def reader(self, runtime: Runtime) -> Reader:
        """Return the code half of a runtime."""
        reader = READERS[runtime.reader or "envelopes"]
        return reader if runtime.transcript_path is None else replace(reader, locate=_newest(runtime))


def load_table(directory: Path) -> Table:
    """Return the built-in runtimes with every usable `*.toml` of `directory` laid over them."""
    runtimes, problems = dict(BUILT_IN), list[RuntimeInvalid]()
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".toml") and not name.startswith("."))
    except FileNotFoundError:
        names = []
    except OSError as error:
        names, problems = [], [RuntimeInvalid(directory, "", f"it cannot be read: {error.strerror}")]
    for name in names:
        try:
            runtime = read_runtime(directory / name, BUILT_IN, frozenset(READERS))
            runtimes[runtime.name] = runtime
        except RuntimeInvalid as error:
            problems.append(error)
    return Table(runtimes, tuple(problems))


def _newest(runtime: Runtime) -> Locate:
    def locate(facts: SessionFacts) -> Path | None:
        pattern = runtime.transcript_pattern(facts) or ""
        found = [(_modified(path), path) for path in Path("/").glob(pattern.lstrip("/"))]
        modified, path = max(found, default=(0.0, Path()))
        return path if found and modified >= facts.woke_at - CLOCK_SLACK_SECONDS else None

    return locate


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
