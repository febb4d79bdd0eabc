"""The client of the server's socket."""

import socket
import sys
import threading
from contextlib import ExitStack

import pytest

from mcp_server.cli.context import Context
from mcp_server.cli.control import connect
from tests.mcp_server.cli.control_server import ControlServer
from transport.paths import Root


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="where a full backlog refuses, as on macOS")
def test_a_full_backlog_is_waited_for(root: Root) -> None:
    context = Context({"PEERWAKE_HOME": str(root.home)}, sys.stdout, sys.stderr)
    with ControlServer(root.server_socket, lambda verb, args: {"heard": verb}), ExitStack() as stack:
        with pytest.raises(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(root.server_socket))
        leaving = threading.Timer(0.1, stack.close)
        leaving.start()
        with connect(context) as control:
            assert control.call("status") == {"heard": "status"}
        leaving.join()
