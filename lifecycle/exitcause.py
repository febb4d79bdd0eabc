"""The exit line of a client whose hook stayed silent: written from what the kernel tells, never guessed."""

import os

from lifecycle import canary
from lifecycle.deathwatch import cause_of, zombie_status
from lifecycle.session import Session
from transport.logs import Logs
from transport.paths import Root


def write_for_hook(root: Root, logs: Logs, session: Session) -> bool:
    """Write the exit line of a dead client that its tmux server has not noticed; tells whether it did.

    A client that lives, and a death that is accounted for, leave nothing. Where the line cannot be written,
    the canary still owes one. Blocking.
    """
    tmux, agent = session.tmux, session.pane
    if tmux is None or agent is None or not tmux.is_alive() or agent.is_alive():
        return False
    if canary.is_accounted(root, session.identity, tmux.pid):
        return False
    status = zombie_status(agent.pid, agent.started)
    exited = status is not None and os.WIFEXITED(status)
    killed = status is not None and os.WIFSIGNALED(status)
    is_written = logs.exits.write(
        "session-exit",
        identity=session.identity,
        dead_status=os.WEXITSTATUS(status) if status is not None and exited else "",
        dead_signal=os.WTERMSIG(status) if status is not None and killed else "",
        cause=cause_of(status),
        by="supervisor",
        server_pid=tmux.pid,
        server_started=tmux.started,
    )
    if is_written:
        canary.dismiss(root, session.identity, tmux.pid)
    return is_written
