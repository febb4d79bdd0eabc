"""A server with clients of every kind inside it: prints `ready`, and stops at SIGTERM."""

import logging
import signal
import sys
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parents[2]))

from mcp_server.serve.options import ServeOptions
from tests.mcp_server.fronts import Running, connected, started, team
from transport.paths import root_from_environment


async def call(run: Running, kind: str, era: str, is_busy: bool) -> None:
    """Hold a connection open, with a call in flight or without."""
    try:
        async with connected(kind, run, era) as client:
            await client.list_tools()
            if is_busy:
                await client.call_tool("send_to_peer", {"personality": "bob", "message": "x", "wait_seconds": 100})
            await anyio.sleep_forever()
    except* Exception:
        pass


async def main(is_busy: bool) -> None:
    """Serve until SIGTERM."""
    logging.getLogger("mcp.client").setLevel(logging.CRITICAL + 1)
    root = root_from_environment()
    service = team(root)
    async with anyio.create_task_group() as clients, anyio.create_task_group() as servers:
        run = await started(servers, root, service, ServeOptions(port=0, stop_seconds=0.2))
        kinds = ("http", "unix-http", "sse", "lines")
        for kind in kinds:
            for era in ("auto", "legacy"):
                clients.start_soon(call, run, kind, era, is_busy)
        wanted = 2 * len(kinds)
        while len(service.letters) < wanted * is_busy or run.front.connections < wanted:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            print("ready", flush=True)
            async for _ in signals:
                break
        run.front.stop()
        await run.ended.wait()
        clients.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] == "busy")
