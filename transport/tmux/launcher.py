"""Start tmux as a daemon in a session of its own: a program of the standard library only, run with -I -S.

Reads directory, mark (see `transport.brand`, may be empty), number of words, words and `NAME=value` pairs from
standard input, separated by NUL (and not JSON: each import costs milliseconds), and prints the daemon's pid.
The daemon is the foreground tmux server itself: nothing of ours stays behind, and on Linux whatever is started
inside it stays its descendant (child subreaper).
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PR_SET_CHILD_SUBREAPER = 36
RLIMIT_LOCKS = 10


def main() -> int:
    cwd, mark, count, *rest = sys.stdin.buffer.read().split(b"\0")
    argv, pairs = rest[: int(count)], rest[int(count) :]
    trouble, report = os.pipe()
    child = os.fork()
    if child == 0:
        become(cwd, int(mark or 0), argv, dict(split(pair) for pair in pairs), report)
    os.close(report)
    with os.fdopen(trouble) as pipe:
        text = pipe.read()
    if text:
        print(text, file=sys.stderr)
        return 1
    print(child)
    return 0


def put(mark: int) -> None:
    """Mark this process; one that has a lower mark already, of a session it runs in, keeps that."""
    import resource

    if mark:
        with suppress(ValueError, OSError):
            resource.setrlimit(RLIMIT_LOCKS, (mark, mark))


def split(pair: bytes) -> tuple[bytes, bytes]:
    name, _, value = pair.partition(b"=")
    return name, value


def become(cwd: bytes, mark: int, argv: list[bytes], env: dict[bytes, bytes], report: int) -> "NoReturn":
    """Turn this process into the server; `report` closes by itself when that worked."""
    try:
        os.setsid()
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            put(mark)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.dup2(report, 3, inheritable=False)
        report = 3
        os.closerange(4, min(os.sysconf("SC_OPEN_MAX"), 1 << 20))
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir(cwd)
        os.execve(argv[0], argv, env)
    except OSError as error:
        os.write(report, f"cannot start tmux in {os.fsdecode(cwd)}: {error.strerror}".encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
