"""Server with a process per connection, so that connections share no interpreter lock."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def listening(receive_buffer: int | None = None, *, host: str = "127.0.0.1") -> socket.socket:
    """Return a listening socket; connections inherit its buffer size, in bytes."""
    listener = socket.socket()
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind((host, 0))
    listener.listen(256)
    return listener


def serve(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    """Print the port, then serve every connection with `handle` in a separate process.

    All of them end when this process is terminated, or the other end of the standard input is
    closed, so a benchmark that is killed leaves nothing running.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombie processes
    print(listener.getsockname()[1], flush=True)
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            os.killpg(0, signal.SIGKILL)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                handle(connection)
            except (OSError, EOFError):
                pass  # the peer disconnected
            finally:
                os._exit(0)
        connection.close()
