"""Where the bodies are that no client takes as they are: files in the directory of their peer."""

from functools import partial
from pathlib import Path

from lifecycle.session import Session
from transport.bulkhead import Area, Bulkhead
from transport.envelope import Form, place_body
from transport.message import Message


def inbox_of(cwd: Path) -> Path:
    """Return the directory of such files of the peer that works in `cwd`."""
    return cwd / ".peerwake" / "inbox"


async def body_file(bulkhead: Bulkhead, session: Session, message: Message, form: Form) -> Path | None:
    """Write a body that a session's client does not take and return its file, None for one that it takes.

    Raises OSError as `place_body`, and NoAnswer.
    """
    if form.takes(message.body):
        return None
    cwd = Path(session.cwd)
    directory = bulkhead.of(Area.DIRECTORY, session.identity)
    return await directory.run(cwd, partial(place_body, message, inbox_of(cwd), form))
