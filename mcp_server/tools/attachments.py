"""The attachments of a send, looked at before it is accepted: off the event loop, and not for long."""

import asyncio
from functools import partial
from pathlib import Path

from mcp_server.serve.callers import Caller
from mcp_server.serve.turns import to_the_end
from mcp_server.service import Service
from transport.bulkhead import Area, NoAnswer
from transport.errors import InvalidInput
from transport.message import check_attachment


async def look_at(service: Service, caller: Caller, paths: tuple[str, ...]) -> None:
    """Return when the attachments of a send can be read, and those of all sends before it on its connection.

    Raises InvalidInput, also for a path that gives no answer. Those of another caller wait for none of this.
    """
    async with caller.turns.take():
        bulkhead = service.bulkhead
        files, loop = bulkhead.of(Area.ATTACHMENT, caller.sender), asyncio.get_running_loop()
        until = loop.time() + bulkhead.seconds
        for path in paths:
            left = max(0.0, until - loop.time())
            try:
                await to_the_end(files.begin(Path(path), partial(check_attachment, path), left))
            except NoAnswer as error:
                problem = f"{path!r:.120} {error.problem}; attach a file on a file system that answers"
                raise InvalidInput("attachments", problem) from error
