"""From a name to an identity, and every reason to refuse before anything is written."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from lifecycle.flags import Flag, Flags
from lifecycle.limits import Limits
from lifecycle.requests import (
    CrashLooping,
    ForeignService,
    PeerStopped,
    RateLimited,
    SelfSend,
    UndeclaredRuntime,
    UnknownPeer,
)
from transport.identity import Identity, check_personality
from transport.profile import Profile
from transport.registry import Registry
from transport.vocabulary import Hold


@dataclass(frozen=True, slots=True)
class Resolver:
    """Answers where a message for a name goes, from memory and one look at the flags.

    `services` are the runtimes whose sessions are run by a service manager, not from here.
    """

    registry: Registry
    flags: Flags
    services: frozenset[str] = frozenset()

    def profile(self, name: str) -> Profile:
        """Return a peer's profile; raises UnknownPeer with the nearest names."""
        profile = self.registry.get(check_personality(name))
        if profile is None:
            nearest = self.registry.nearest(name)
            hint = f"did you mean {', '.join(nearest)}?" if nearest else "list_peers shows who there is"
            raise UnknownPeer(f"there is no peer {name!r}; {hint}")
        return profile

    def identity(self, name: str, runtime: str | None) -> tuple[Profile, Identity]:
        """Return the presence that `name` means: the runtime asked for, else the default one."""
        profile = self.profile(name) if runtime is None else self._declared(name, runtime)
        return profile, Identity(runtime or profile.default_runtime, name)

    def is_declared(self, identity: Identity) -> bool:
        """Tell whether there is a peer of this name that has this runtime."""
        profile = self.registry.get(identity.personality)
        return profile is not None and identity.runtime in profile.runtimes

    def declared(self, identity: Identity) -> Profile:
        """Return the profile of an identity; raises UnknownPeer or UndeclaredRuntime if there is none any more."""
        return self._declared(identity.personality, identity.runtime)

    def _declared(self, name: str, runtime: str) -> Profile:
        profile = self.profile(name)
        if runtime not in profile.runtimes:
            near = difflib.get_close_matches(runtime, profile.runtimes, 1)
            asked = f"{name} does not declare the runtime {runtime!r:.40}"
            raise UndeclaredRuntime(f"{asked}; it has {', '.join(near or profile.runtimes)}")
        return profile

    def unwakeable(self, identity: Identity) -> Hold | None:
        """Return why nobody may wake this identity, None when one may."""
        if self.flags.is_set(identity, Flag.STOPPED):
            return Hold.STOPPED
        return Hold.CRASH_LOOPING if self.flags.is_set(identity, Flag.FAILED) else None

    def is_foreign(self, identity: Identity) -> bool:
        """Tell whether this presence is a service that is not ours: it is only looked at."""
        return identity.runtime in self.services

    def is_wakeable(self, identity: Identity) -> bool:
        """Tell whether a message may wake this identity."""
        return not self.is_foreign(identity) and self.unwakeable(identity) is None

    def refuse_foreign(self, identity: Identity) -> None:
        """Raise ForeignService for a presence that is not ours to start, stop or write to."""
        if self.is_foreign(identity):
            raise ForeignService(
                f"{identity.personality} ({identity.runtime}) is a service that peerwake does not manage;"
                " nothing was done or queued. Use another of its runtimes, or ask whoever runs that service"
            )

    def refuse_unwakeable(self, identity: Identity) -> None:
        """Raise ForeignService, PeerStopped or CrashLooping if nobody may wake this identity."""
        self.refuse_foreign(identity)
        hold = self.unwakeable(identity)
        if hold is Hold.STOPPED:
            raise PeerStopped(
                f"{identity.personality} is stopped; nothing was queued. Its operator starts it with:"
                f" peerwake start {identity.personality}"
            )
        if hold is Hold.CRASH_LOOPING:
            why = self.flags.text(identity, Flag.FAILED)
            raise CrashLooping(
                f"{identity.personality} dies again and again ({why}); nothing was queued."
                f" When its cause is mended: peerwake start {identity.personality}"
            )

    def refuse_self(self, sender: Identity, recipient: Identity) -> None:
        """Raise SelfSend when a peer writes to itself, in whatever runtime."""
        if sender.personality == recipient.personality:
            raise SelfSend(f"you are {sender.personality}; choose another peer")


class RateLimit:
    """A token bucket for each sender: `per_minute` sends, in bursts of at most as many."""

    def __init__(self, limits: Limits, now: Callable[[], float] = monotonic) -> None:
        self._capacity = float(limits.sends_per_minute)
        self._buckets: dict[Identity, tuple[float, float]] = {}
        self._now = now

    def take(self, sender: Identity) -> None:
        """Take one token; raises RateLimited with the seconds to wait."""
        now = self._now()
        tokens, at = self._buckets.get(sender, (self._capacity, now))
        tokens = min(self._capacity, tokens + (now - at) * self._capacity / 60)
        if tokens < 1:
            wait = (1 - tokens) * 60 / self._capacity
            raise RateLimited(
                f"more than {self._capacity:g} messages a minute from {sender};"
                f" nothing was queued, send again in {max(wait, 0.1):.1f} s"
            )
        self._buckets[sender] = (tokens - 1, now)
