"""Removing and renaming where no server runs: under the locks that a server would hold."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, assert_never

from filelock import FileLock, Timeout

from lifecycle.flags import Flags
from lifecycle.journal import Removal, Renaming
from lifecycle.liveness import refuse_live
from lifecycle.remove import Remover
from lifecycle.rename import Renamer
from lifecycle.requests import NotAllowed
from lifecycle.resolve import Resolver
from lifecycle.runtimes.table import load_table
from mcp_server.cli.caller import LocalCallers
from mcp_server.cli.context import Context
from mcp_server.cli.failures import NoServer
from mcp_server.clients.withdraw import withdraw
from transport.clock import SystemClock
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.registry import Registry

LOCK_SECONDS: Final = 2.0
BY_SERVER: Final = "; a server ends it: peerwake serve --background, then repeat"


class OfflineChanges:
    """Changes peers of one root; raises NotAllowed inside a session, NoServer while a server has the root."""

    def __init__(self, context: Context) -> None:
        self.root = Root(Path(context.home))
        clock = SystemClock()
        registry, flags, logs = Registry(self.root, clock), Flags(self.root), Logs(self.root.logs, clock)
        self._resolver = Resolver(registry, flags)
        self._callers = LocalCallers(context, self.root, registry)
        self._remover = Remover(
            self.root, registry, flags, clock, logs, lambda cwd: withdraw(cwd, self.root.home, context.environ)
        )
        self._renamer = Renamer(self.root, registry, load_table(self.root.runtimes), clock, logs)

    def remove(self, name: str, *, force: bool, purge: bool) -> dict[str, Any]:
        """Remove a peer that has no session; returns what the server would. Raises what `Remover` raises."""
        with self._alone():
            finished = self._finish_pending()
            if finished is not None and finished.get("former") is None and finished["name"] == name:
                return finished
            removal = self._remover.check(self._resolver.profile(name), force=force, purge=purge)
            return self._remove(removal, force=force)

    def rename(self, name: str, new: str) -> dict[str, Any]:
        """Give a peer another name; returns what the server would. Raises what `Renamer` raises."""
        with self._alone():
            finished = self._finish_pending()
            if finished is not None and (finished.get("former"), finished["name"]) == (name, new):
                return finished
            profile = self._resolver.profile(name)
            change = self._renamer.check(profile, new)
            with self._locked(self._renamer.identities(change.before, change.after)):
                done = self._renamer.carry_out(self._renamer.check(profile, new))
            return done.row()

    def finish(self) -> dict[str, Any] | None:
        """Finish what a killed command or server had begun; returns what came of it, None when there was nothing."""
        with self._alone():
            return self._finish_pending()

    def _remove(self, removal: Removal, *, force: bool) -> dict[str, Any]:
        identities = self._remover.identities(removal.name)
        with self._locked(identities):
            refuse_live(self.root, identities, BY_SERVER)
            self._remover.begin(removal, force=force)
            return self._remover.finish(removal).row()

    def _finish_pending(self) -> dict[str, Any] | None:
        change = self._remover.journal.load()
        match change:
            case None:
                return None
            case Removal():
                if self._remover.is_outlived(change):
                    self._remover.finish(change)
                    return None
                return self._remove(change, force=True)
            case Renaming():
                with self._locked(self._renamer.identities(change.before, change.after)):
                    done = self._renamer.recover(change)
                return None if done is None else done.row()
            case _:
                assert_never(change)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the supervisor, so that no server begins to deliver meanwhile."""
        self.root.prepare()
        bound = self._callers.bound()
        if bound is not None:
            raise NotAllowed(f"this is for the operator; {bound} may not do it")
        try:
            with FileLock(self.root.supervisor_lock, timeout=LOCK_SECONDS, mode=0o600):
                yield
        except Timeout as error:
            raise NoServer(
                "a server has this root and does not answer; nothing was changed; see: peerwake doctor"
            ) from error

    @contextmanager
    def _locked(self, identities: Iterable[Identity]) -> Iterator[None]:
        with ExitStack() as stack:
            for identity in sorted(identities):
                path = self.root.flag(identity, "wake.lock")
                try:
                    stack.enter_context(FileLock(path, timeout=LOCK_SECONDS, mode=0o600))
                except Timeout as error:
                    raise NoServer(f"{identity} is being woken by a server that does not answer") from error
            yield
