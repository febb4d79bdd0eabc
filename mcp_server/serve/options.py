"""What the listeners are told: addresses, limits, deadlines."""

import ipaddress
from dataclasses import dataclass
from typing import Final

from transport.errors import PeerwakeError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8765
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class NotLoopback(PeerwakeError):
    """The address can be reached from other machines; the user says so explicitly or binds to loopback."""

    code = "not-loopback"


class AddressInUse(PeerwakeError):
    """Another program listens there; the user chooses another port or stops it."""

    code = "address-in-use"


class ServerRunning(PeerwakeError):
    """A server already answers on this root's socket."""

    code = "server-running"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Durations in seconds, sizes in bytes. `port` None serves the unix socket alone, 0 takes any free port.

    Without `needs_port` a port that another program has leaves the unix socket alone, instead of raising.
    `sessions_each` and `streams_each` bound what one caller holds open over HTTP, `max_waiting` the
    connections on which nothing is being asked. A session over HTTP ends `session_idle_seconds` after its
    last request.
    """

    host: str = DEFAULT_HOST
    port: int | None = DEFAULT_PORT
    needs_port: bool = True
    allow_remote: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    message_bytes: int = 1 << 20
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    unread_seconds: float = 60.0
    stop_seconds: float = 5.0
    max_sessions: int = 1_000
    sessions_each: int = 200
    session_idle_seconds: float = 1_800.0
    streams_each: int = 100
    max_waiting: int = 512

    def check(self) -> None:
        """Raise NotLoopback unless the host is this machine's own or `allow_remote` is set."""
        if not is_loopback(self.host) and not self.allow_remote:
            raise NotLoopback(
                f"{self.host} can be reached from other machines; bind to {DEFAULT_HOST}, or set allow_remote if"
                " you mean it and something in front of it speaks TLS"
            )

    @property
    def host_names(self) -> frozenset[str]:
        """The names a Host or Origin header may carry, in lower case."""
        return LOOPBACK_NAMES | {name.lower() for name in (*self.allowed_hosts, self.host)}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server can be reached; `http` is None without TCP, and `no_http` says why where TCP was wanted."""

    socket: str
    http: str | None
    no_http: str | None = None


def is_loopback(host: str) -> bool:
    """Return whether `host` is localhost or a loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
