"""Server with a process per connection, so that connections share no interpreter lock."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent


def listening(receive_buffer: int | None = None) -> socket.socket:
    """Return a listening loopback socket; connections inherit its buffer size, in bytes."""
    listener = socket.socket()
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    return listener


def serve(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    """Print the port, then serve every connection with `handle` in a separate process.

    All of them end when the other end of the standard input is closed, so a benchmark
    that is killed leaves nothing running.
    """
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


@contextmanager
def running(module: str, *arguments: str) -> Iterator[int]:
    """Run a server of this folder in its own process group; yield its port."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", f"moving.{module}", *arguments],
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as server:
        if server.stdout is None:
            raise RuntimeError(f"{module} has no output")
        try:
            yield int(server.stdout.readline())
        finally:
            os.killpg(server.pid, signal.SIGKILL)
