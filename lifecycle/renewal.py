"""The `.new` flag: the durable wish that an identity starts anew, and what it is told first then."""

import json
from dataclasses import dataclass
from typing import Final

from lifecycle.flags import Flag, Flags, FlagUnusable
from transport.errors import InvalidInput
from transport.files import read_regular
from transport.identity import Identity
from transport.message import CONTROLS
from transport.paths import Root

SEED_BYTES: Final = 16 * 1024
FILE_BYTES: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class Renewal:
    """`replaces` is the fence of the session that is to go, None when there is none; `seed` at most 16 KiB.

    `at_turn_end`: the session wished it for itself and is not to be cut off in the middle of its turn.
    """

    replaces: str | None = None
    seed: str | None = None
    at_turn_end: bool = False


def check_seed(text: str) -> str:
    """Return a seed without control characters; raises InvalidInput."""
    clean = CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).strip()
    size = len(clean.encode("utf-8", "replace"))
    if not clean:
        raise InvalidInput("seed", "it is empty; leave it out, or say what the fresh session is to do first")
    if size > SEED_BYTES:
        raise InvalidInput("seed", f"it has {size} bytes, at most {SEED_BYTES} are possible; put it into a file")
    return clean


class Renewals:
    """The wishes of one root, set and read by any process of the host."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._flags = Flags(root)

    def load(self, identity: Identity) -> Renewal | None:
        """Return what is wished for an identity; text that somebody wrote by hand is the seed.

        Raises FlagUnusable when there is a flag that cannot be read.
        """
        path = self._root.flag(identity, Flag.NEW)
        try:
            data, _ = read_regular(path, follow=False, limit=FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FlagUnusable(f"{path} cannot be read: {error.strerror}; mend or remove it") from error
        return _parse(data.decode("utf-8", "replace"))

    def set(self, identity: Identity, renewal: Renewal) -> None:
        """Write a wish durably; raises FlagUnusable."""
        wish = {"replaces": renewal.replaces, "seed": renewal.seed, "at_turn_end": renewal.at_turn_end}
        self._flags.set(identity, Flag.NEW, json.dumps(wish))

    def clear(self, identity: Identity) -> bool:
        """Remove a wish durably; tells whether there was one. Raises FlagUnusable."""
        return self._flags.clear(identity, Flag.NEW)


def _parse(text: str) -> Renewal:
    try:
        wish = json.loads(text)
        replaces, seed, at_turn_end = wish["replaces"], wish["seed"], wish.get("at_turn_end")
    except (ValueError, KeyError, TypeError, RecursionError):
        return Renewal(None, _by_hand(text))
    return Renewal(
        replaces if isinstance(replaces, str) else None,
        _by_hand(seed) if isinstance(seed, str) else None,
        at_turn_end is True,
    )


def _by_hand(text: str) -> str | None:
    cut = text.encode("utf-8", "replace")[:SEED_BYTES].decode("utf-8", "ignore")
    return CONTROLS.sub("", cut).strip() or None
