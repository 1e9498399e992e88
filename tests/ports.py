"""Ports for servers that are started a while after their port was chosen."""

from __future__ import annotations

import random
import socket
from pathlib import Path

#: Where Linux keeps the range of ports that it gives to sockets by itself.
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a free port that the system gives to no other socket.

    One that was bound as port 0 may be given to another process before the server starts.
    """
    first = int(_RANGE.read_text(encoding="utf-8").split()[0]) if _RANGE.exists() else 32_768
    while True:
        port = random.SystemRandom().randrange(10_000, max(first, 20_000))
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
