"""Start tmux as a daemon in a session of its own: a program of the standard library only, run with -I -S.

Reads {"argv", "env", "cwd"} as JSON from standard input and prints the daemon's pid. The daemon is the
foreground tmux server itself: nothing of ours stays behind, and on Linux whatever is started inside it
stays its descendant (child subreaper).
"""

import ctypes
import json
import os
import signal
import sys
from typing import Any, NoReturn

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    spec = json.load(sys.stdin)
    trouble, report = os.pipe()
    child = os.fork()
    if child == 0:
        become(spec, report)
    os.close(report)
    with os.fdopen(trouble) as pipe:
        text = pipe.read()
    if text:
        print(text, file=sys.stderr)
        return 1
    print(child)
    return 0


def become(spec: dict[str, Any], report: int) -> NoReturn:
    """Turn this process into the server; `report` closes by itself when that worked."""
    try:
        os.setsid()
        if sys.platform.startswith("linux"):
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        os.dup2(report, 3, inheritable=False)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        report = 3
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir(spec["cwd"])
        os.execve(spec["argv"][0], spec["argv"], spec["env"])
    except OSError as error:
        os.write(report, f"cannot start {spec['argv'][0]}: {error}".encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
