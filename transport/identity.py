"""Names of peers, of runtimes, and of one presence of a peer."""

import re
from dataclasses import dataclass
from typing import Final

from transport.errors import InvalidInput
from transport.transliterate import transliterate

PERSONALITY: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
RUNTIME: Final = re.compile(r"[a-z][a-z0-9]{0,31}")
RESERVED: Final = frozenset({"operator", "peerwake"})
GONE: Final = "~removed"
"""What follows the name of a sender that was removed; no peer's name has it, so no later peer is that sender."""


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """`<runtime>-<personality>`: the address of one presence of a peer."""

    runtime: str
    personality: str

    @property
    def is_gone(self) -> bool:
        """Whether this was a sender that has been removed: nobody is it any more."""
        return self.personality.endswith(GONE)

    def __str__(self) -> str:
        return f"{self.runtime}-{self.personality}"


OPERATOR: Final = Identity("cli", "operator")
SYSTEM: Final = Identity("system", "peerwake")


def check_personality(name: object, field: str = "personality") -> str:
    """Return `name` if it is a peer's name, else raise InvalidInput naming `field`."""
    if not isinstance(name, str) or not PERSONALITY.fullmatch(name):
        raise InvalidInput(
            field,
            f"{name!r:.80} is not a peer's name; use 1 to 32 of a-z, 0-9 and '-', starting with a letter",
        )
    return name


def check_runtime(name: object, field: str = "runtime") -> str:
    """Return `name` if it is a runtime's name, else raise InvalidInput naming `field`."""
    if not isinstance(name, str) or not RUNTIME.fullmatch(name):
        raise InvalidInput(
            field,
            f"{name!r:.80} is not a runtime's name; use 1 to 32 of a-z and 0-9, starting with a letter",
        )
    return name


def parse_identity(text: object, field: str = "identity") -> Identity:
    """Split `<runtime>-<personality>` at the first dash; raises InvalidInput."""
    runtime, dash, personality = str(text).partition("-")
    if not dash:
        raise InvalidInput(field, f"{text!r:.80} is not <runtime>-<personality>")
    return Identity(check_runtime(runtime, field), check_personality(personality, field))


def normalize(basename: str) -> str:
    """Make a peer's name of a directory's name: transliterated, lower-case, dashes.

    Raises InvalidInput when nothing usable is left or the name is reserved.
    """
    name = re.sub(r"[^a-z0-9]+", "-", transliterate(basename)).strip("-")
    name = re.sub(r"^[0-9-]+", "", name)[:32].rstrip("-")
    if not name:
        raise InvalidInput("name", f"no peer's name can be made of {basename!r:.80}; give one with --name")
    if name in RESERVED:
        raise InvalidInput("name", f"{name!r} is reserved; give another with --name")
    return name
