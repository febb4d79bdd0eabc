"""A loopback address for clients that can send no header: each connection goes to the unix socket as it is."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNK = 1 << 16


@contextmanager
def relay(path: Path) -> Iterator[str]:
    """Yield an address whose connections end at the server's unix socket, which knows its caller without a header.

    No byte is changed: what a suite checks of Host, Origin and framing is the server's own.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=_accept, args=(listener, path))
        acceptor.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def _accept(listener: socket.socket, path: Path) -> None:
    pairs: list[tuple[socket.socket, socket.socket]] = []
    threads: list[threading.Thread] = []
    with suppress(OSError):
        while True:
            near, _ = listener.accept()
            far = socket.socket(socket.AF_UNIX)
            far.connect(str(path))
            pairs.append((near, far))
            threads += [threading.Thread(target=_pump, args=ends) for ends in ((near, far), (far, near))]
            for thread in threads[-2:]:
                thread.start()
    for end in (end for pair in pairs for end in pair):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for end in (end for pair in pairs for end in pair):
        end.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
