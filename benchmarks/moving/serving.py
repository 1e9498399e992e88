"""A process for each connection: none waits for another's interpreter lock."""

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
    """A socket that listens on loopback; connections inherit the buffer's size, in bytes."""
    listener = socket.socket()
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(("127.0.0.1", 0))
    listener.listen(256)
    return listener


def serve(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    """Say the port, then hand every connection to `handle` in a process of its own.

    It ends, with all those, when the other end of its input is closed: a benchmark
    that is killed leaves nothing running.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries them
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
                pass  # the peer left
            finally:
                os._exit(0)
        connection.close()


@contextmanager
def running(module: str, *words: str) -> Iterator[int]:
    """A server of this folder in a process group of its own; yields its port."""
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", f"moving.{module}", *words],
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
