"""Start a client in a tmux server of its own, with the record written before the process exists."""

import secrets
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio.to_thread

from lifecycle import canary
from lifecycle.environment import session_environment
from lifecycle.plan import Plan
from lifecycle.prompt.passing import Prompts
from lifecycle.runtimes.base import LaunchSpec, Runtime
from lifecycle.session import Session, Sessions
from transport.brand import brand
from transport.bulkhead import Area, Bulkhead
from transport.clock import Clock
from transport.errors import PeerwakeError
from transport.identity import Identity
from transport.logs import Logs
from transport.paths import Root
from transport.profile import Profile
from transport.tmux.control import TmuxUnknown
from transport.tmux.exit_script import date_program, exit_script
from transport.tmux.listener import listener
from transport.tmux.server import ServerRunning, ServerSpec, Started, start

START_SECONDS: Final = 15.0
PREPARE_SECONDS: Final = 15.0
PLACES: Final = ("HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "PEERWAKE_TRANSCRIPT")


def _has_ended(socket: Path) -> bool:
    """Tell whether certainly nobody listens on a socket; blocking."""
    try:
        return listener(socket) is None
    except TmuxUnknown:
        return False


class RuntimeMissing(PeerwakeError):
    """The client of this runtime is not installed where the session would look for it."""

    code = "runtime-missing"


class DirectoryGone(PeerwakeError):
    """The peer's working directory is not there."""

    code = "directory-gone"


class WrongIntelligence(PeerwakeError):
    """The runtime is for peers of another intelligence; the operator corrects the profile."""

    code = "wrong-intelligence"


def refuse_intelligence(profile: Profile, runtime: Runtime) -> None:
    """Raise WrongIntelligence for a runtime that needs what the peer is not."""
    needed = runtime.requires_intelligence
    if needed not in (None, profile.intelligence):
        raise WrongIntelligence(
            f"runtime {runtime.name} is for a peer of {needed} intelligence, and that of {profile.name} is"
            f" {profile.intelligence}; set the one that is right in {profile.path} (intelligence, or the runtimes)"
            " and run: peerwake verify --fix"
        )


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts sessions; `operator` is the environment of the operator, `credential` proves an identity."""

    root: Root
    clock: Clock
    sessions: Sessions
    operator: Mapping[str, str]
    credential: Callable[[Identity], str]
    scope: bool
    prompts: Prompts
    logs: Logs
    bulkhead: Bulkhead

    async def start(self, profile: Profile, runtime: Runtime, plan: Plan, *, task: str | None = None) -> Session:
        """Start a session and return its record; the client is not ready yet.

        Raises DirectoryGone, RuntimeMissing, CannotResume, LaunchEnvInvalid, NoAnswer or an error of tmux; then
        there is no session and no record. Where a server may be left, its record stays, and whoever looks next ends it.
        """
        identity = Identity(runtime.name, profile.name)
        cwd, directory = Path(profile.cwd), self.bulkhead.of(Area.DIRECTORY, identity)
        if not await directory.run(cwd, cwd.is_dir):
            raise DirectoryGone(f"{cwd}, the directory of {profile.name}, is not there; restore it or remove the peer")
        session = Session(
            identity=identity,
            host=profile.host,
            tenant_id=profile.tenant_id,
            cwd=str(cwd),
            fence=secrets.token_hex(8),
            woke_at=self.clock.wall(),
            mode=plan.start.mode,
            session_id=str(uuid.uuid4()),
            session_ref=plan.start.reference,
            task=task,
            # A worker starts clean for its task: it is told nothing else.
            seed=plan.seed if task is None else None,
            topics=plan.topics,
            obeys=dict(plan.obeyed),
        )
        prepare = partial(self._server, profile, runtime, session)
        spec, session = await directory.run(cwd, prepare, PREPARE_SECONDS)
        # Cut off between the start and the record, a session would belong to nobody.
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.sessions.save, session)
            try:
                started: Started = await start(spec, START_SECONDS)
            except BaseException as error:
                if isinstance(error, ServerRunning) or await anyio.to_thread.run_sync(_has_ended, spec.socket):
                    await anyio.to_thread.run_sync(self.sessions.discard, session)
                raise
            # Before anybody can find it, and end it deliberately.
            await anyio.to_thread.run_sync(lambda: canary.ensure(self.root, identity, started.tmux, scope=self.scope))
            session = await anyio.to_thread.run_sync(
                lambda: self.sessions.update(session, tmux=started.tmux, pane=started.pane, pane_id=started.pane_id)
            )
        if started.no_scope is not None:
            self.logs.lifecycle.write("no-scope", identity=identity, tmux=started.tmux.pid, reason=started.no_scope)
        return session

    def launch_spec(self, session: Session) -> LaunchSpec:
        """Return the facts a runtime's command line and environment are made of."""
        return LaunchSpec(
            mode=session.mode,
            session_id=session.session_id,
            cwd=Path(session.cwd),
            home=Path(self.operator.get("HOME") or Path.home()),
            python=sys.executable,
            session_ref=session.session_ref,
        )

    def _environment(self, runtime: Runtime, spec: LaunchSpec, identity: Identity) -> dict[str, str]:
        return session_environment(
            runtime,
            spec,
            operator=self.operator,
            root=self.root,
            identity=identity,
            credential=self.credential(identity),
        )

    def _server(self, profile: Profile, runtime: Runtime, session: Session) -> tuple[ServerSpec, Session]:
        """Return the tmux server to start and the record of its session; the prompt is on disk then."""
        launch, edition = self.prompts.prepare(profile, runtime, self.launch_spec(session))
        env = self._environment(runtime, launch, session.identity)
        program = self._program(runtime, launch, env)
        argv = runtime.command(self.prompts.settled(launch, runtime, program, self.operator))
        spec = ServerSpec(
            socket=self.root.tmux_socket(session.identity),
            session=str(session.identity),
            argv=(program, *argv[1:]),
            env=env,
            cwd=Path(session.cwd),
            exit_hook=self._exit_hook(session.identity),
            pane_log=self.root.pane_log(session.identity),
            scope=self.scope,
            mark=brand(self.root.home),
        )
        places: dict[str, str] = {name: env[name] for name in PLACES if name in env}
        return spec, replace(session, client_env=places, prompt=edition)

    def _exit_hook(self, identity: Identity) -> str:
        log = self.root.logs / "exits.log"
        return exit_script(log, str(identity), canary.directory(self.root), date_program())

    def _program(self, runtime: Runtime, launch: LaunchSpec, env: Mapping[str, str]) -> str:
        """Return the path of the client; raises RuntimeMissing, CannotResume."""
        argv = runtime.command(launch)
        program = shutil.which(argv[0], path=env.get("PATH", "")) if argv else None
        if program is None:
            name = argv[0] if argv else "a command line"
            raise RuntimeMissing(
                f"runtime {runtime.name} needs {name}, which is not on the PATH of the server."
                f" {runtime.install or 'Install it'}, or set PATH in the peer's launch.env"
            )
        return program
