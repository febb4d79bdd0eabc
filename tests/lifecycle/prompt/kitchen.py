"""A root with peers and doctrine, and the prompts composed from it."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lifecycle.prompt.compose import Composer
from lifecycle.prompt.facts import os_version
from lifecycle.prompt.layers import Prompt
from lifecycle.session import Sessions
from tests.clock import FakeClock
from transport.paths import Root
from transport.profile import Profile, make_profile
from transport.registry import Registry

NOON = datetime(2026, 11, 20, 12, 0).timestamp()
GOLDEN = Path(__file__).parent / "golden"


def profile(name: str, **fields: Any) -> Profile:
    """A profile of a peer, wherever it lives."""
    known = {"runtimes": ("scripted",), "default_runtime": "scripted", "cwd": f"/srv/{name}"}
    whose = {"host": "here", "tenant_id": "me", "created_at": "2026-11-20T00:00:00+00:00"}
    return make_profile(**(known | whose | {"name": name} | fields))


@dataclass
class Kitchen:
    """Writes files below the root and composes."""

    root: Root

    def __post_init__(self) -> None:
        self.clock = FakeClock(NOON)
        self.registry = Registry(self.root, self.clock)
        self.sessions = Sessions(self.root)
        self.composer = Composer(self.root, self.clock, self.registry, self.sessions)

    def peer(self, name: str, **fields: Any) -> Profile:
        made = profile(name, cwd=self.root.peers / name, **fields)
        self.registry.add(made)
        return made

    def write(self, path: str, text: str | bytes, mode: int = 0o600) -> Path:
        """Write a file below the root, its directories made if need be."""
        target = self.root.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        target.chmod(mode)
        return target

    def doctrine(self, text: str = "Be kind.\n", name: str = "alice") -> Path:
        return self.write(f"peers/{name}/.peerwake/PEER.md", text)

    def compose(self, name: str = "alice", runtime: str = "scripted") -> Prompt:
        known = self.registry.get(name)
        assert known is not None
        return self.composer.compose(known, runtime)

    def shown(self, prompt: Prompt) -> str:
        """A prompt without what differs from machine to machine."""
        text = prompt.text.replace(str(self.root.home), "/home/me/.peerwake").replace(prompt.edition, "EDITION")
        lines = text.replace(os_version(), "Some OS 1.0").split("\n")
        return "\n".join('platform: "Linux"' if line.startswith("platform: ") else line for line in lines)
