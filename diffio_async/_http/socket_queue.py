"""What a connection was given and has not got through yet."""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

if sys.platform == "linux":
    import fcntl
    import termios


def unacked_bytes(transport: asyncio.WriteTransport) -> int:
    """Return the bytes in the transport's buffer, plus the unacknowledged ones in the socket's.

    The latter only on Linux, which reports them: megabytes, on a fast machine and a slow line.
    """
    held = transport.get_write_buffer_size()
    if sys.platform == "linux":
        socket = transport.get_extra_info("socket")
        if socket is not None:
            try:
                answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4))
            except (OSError, ValueError):  # it is closed
                return held
            held += int(struct.unpack("i", answer)[0])
    return held
