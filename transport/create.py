"""Making a peer of what a user asked for."""

from dataclasses import dataclass
from pathlib import Path

from transport.clock import iso
from transport.errors import InvalidInput
from transport.identity import RESERVED, check_personality, normalize
from transport.paths import check_socket_path
from transport.profile import Profile, host, make_profile, tenant
from transport.registry import Registry
from transport.scan import resolve
from transport.vocabulary import Intelligence, WakePolicy


@dataclass(frozen=True, slots=True)
class NewPeer:
    """What a user asks for; without `cwd` the peer gets `peers/<name>`, without `name` that of its directory."""

    runtimes: tuple[str, ...]
    name: str | None = None
    cwd: Path | None = None
    default_runtime: str | None = None
    intelligence: Intelligence = Intelligence.ARTIFICIAL
    description: str = ""
    wake_policy: WakePolicy = WakePolicy.WARM
    initial_prompt: str | None = None


def create(registry: Registry, new: NewPeer) -> Profile:
    """Make the peer: directory, profile and registry entry; of two that race for a name one wins.

    Raises InvalidInput (NameTaken, DirectoryTaken), RootUnusable for a name whose socket path would be too long,
    ProfileUnusable, RegistryUnusable. Blocks.
    """
    name = name_of(new)
    profile = make_profile(
        name=name,
        runtimes=new.runtimes,
        default_runtime=new.default_runtime or next(iter(new.runtimes), ""),
        cwd=_directory(registry, name, new.cwd),
        intelligence=new.intelligence,
        description=new.description,
        wake_policy=new.wake_policy,
        initial_prompt=new.initial_prompt,
        host=host(),
        tenant_id=tenant(),
        created_at=iso(registry.clock.wall()),
    )
    for identity in profile.identities:
        check_socket_path(registry.root.tmux_socket(identity))
    registry.add(profile)
    return profile


def name_of(new: NewPeer) -> str:
    """Return the name that a new peer gets; raises InvalidInput."""
    if new.name is None and new.cwd is None:
        raise InvalidInput("name", "it is missing; give the peer a name or a directory")
    if new.name is None:
        return normalize(new.cwd.resolve().name if new.cwd else "")
    if new.name in RESERVED:
        raise InvalidInput("name", f"{new.name!r} is reserved; choose another")
    return check_personality(new.name, "name")


def _directory(registry: Registry, name: str, cwd: Path | None) -> Path:
    if cwd is None:
        return registry.default_directory(name)
    real = resolve(cwd)
    if real is None:
        raise InvalidInput("cwd", f"{str(cwd)!r:.200} is not a directory; create it first")
    return real
