"""Starting a server from a bridge: detached, and without the identity of the agent that needed it.

Standard library only: this runs in agents' bridges.
"""

# Without pathlib and contextlib, which cost more to import than this whole program.

import os

NOT_INHERITED = ("PEER_PERSONALITY", "PEER_RUNTIME", "PEER_IDENTITY", "PEERWAKE_CREDENTIAL", "TMUX", "TMUX_PANE")

# The kind of a file in its mode: `stat` is one more import.
REGULAR_MASK, REGULAR = 0o170000, 0o100000

# Says that the rest of the environment is an agent's, and not whose.
FROM_SESSION = "PEERWAKE_FROM_SESSION"


def spawn(command: list[str], home: str, log_path: str) -> None:
    """Start a server detached from this process, its group and its terminal, without the agent's identity."""
    environment = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    # One that finds another server at work ends, instead of standing by.
    environment.update(PEERWAKE_HOME=home, PEERWAKE_STANDBY="false")
    if "PEER_IDENTITY" in os.environ:
        environment[FROM_SESSION] = "1"
    log = _sink(log_path)
    nothing = os.open(os.devnull, os.O_RDONLY)
    child = os.fork()
    if child:
        os.close(log)
        os.close(nothing)
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        for descriptor, number in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(descriptor, number)
        os.chdir(top())
        os.execvpe(command[0], command, environment)
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _sink(path: str) -> int:
    """Open a log to append to; a link, a pipe or a directory in its place holds up no start."""
    try:
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        if os.fstat(log).st_mode & REGULAR_MASK == REGULAR:
            return log
        os.close(log)
    except OSError:
        pass
    return os.open(os.devnull, os.O_WRONLY)


def last_line(path: str) -> str:
    """Return the last line of a log, empty when there is none."""
    try:
        log = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        size = os.fstat(log).st_size
        text = os.pread(log, 500, max(size - 500, 0)).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(log)
    return text.strip().rpartition("\n")[2]


def top() -> str:
    """Return the directory that holds our packages: a clone, or where the wheel is installed."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
