"""A server for tests of the bridge: `python bridge_server.py NOTES` serves PEERWAKE_HOME until it is killed.

It writes one line into NOTES at each start: pid, process group, session, and the names in its environment.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[2]))

from mcp_server.serve.options import ServeOptions, ServerRunning
from tests.mcp_server.fronts import running
from transport.files import append_line
from transport.paths import root_from_environment


async def main(notes: Path) -> None:
    """Serve, unless somebody else does."""
    root = root_from_environment()
    root.prepare()
    facts = {"pid": os.getpid(), "group": os.getpgrp(), "session": os.getsid(0), "environment": sorted(os.environ)}
    append_line(notes, json.dumps(facts))
    with suppress(ServerRunning):
        async with running(root, options=ServeOptions(port=None)):
            await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
