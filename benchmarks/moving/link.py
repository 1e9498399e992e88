"""Simulated long link to a server: each connection has its own rate and delay.

    python -m moving.link PORT [BYTES_PER_SECOND [ROUND_TRIP_SECONDS]]

A relay, plain or TLS alike, one process for each connection. Bytes are taken in at the rate (a
token bucket of 64 KiB in each direction) and forwarded half a round trip later, so a response comes
a round trip after the last byte of its request; TLS pays for each of its flights. The first bytes
wait for another round trip, because the relay cannot delay the system's TCP handshake. Slow start,
packet loss and a queue shared by connections are not simulated.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque

from moving.serving import listening, serve

RATE = 20_000_000
ROUND_TRIP = 0.040
_CHUNK = 64 * 1024
#: Maximum of bytes in flight, and buffer size of the near socket.
_WINDOW = 1024 * 1024


class Lane:
    """One direction: `source` is read at the rate, `target` written half a round trip later."""

    def __init__(
        self, source: socket.socket, target: socket.socket, rate: float, delay: float
    ) -> None:
        self.source, self.target = source, target
        self._rate, self._delay = rate, delay
        self._tokens, self._filled = float(_CHUNK), time.monotonic()
        self._held: deque[tuple[float, memoryview]] = deque()
        self._size = 0
        self._ended = False

    def readable_in(self, now: float) -> float | None:
        """Return the seconds until the source may be read; None if a write comes first."""
        if self._ended or self._size >= 2 * _WINDOW:
            return None
        self._tokens = min(_CHUNK, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        return max(0.0, (_CHUNK / 2 - self._tokens) / self._rate)

    def writable_in(self, now: float) -> float | None:
        """Return the seconds until the next write to the target; None if nothing is buffered."""
        return max(0.0, self._held[0][0] - now) if self._held else None

    def read(self, now: float, more: float) -> None:
        """Read what the tokens allow; it is written after the delay plus `more` seconds."""
        data = self.source.recv(int(self._tokens))
        self._tokens -= len(data)
        self._size += len(data)
        self._ended = not data
        self._held.append((now + self._delay + more, memoryview(data)))

    def write(self) -> bool:
        """Write the first buffered bytes; return False once the end was written."""
        due, data = self._held.popleft()
        if not data:
            self.target.shutdown(socket.SHUT_WR)
            return False
        sent = self.target.send(data)
        self._size -= sent
        if sent < len(data):
            self._held.appendleft((due, data[sent:]))
        return True


def carry(near: socket.socket, far: socket.socket, rate: float, round_trip: float) -> None:
    """Relay until both sides have ended."""
    lanes = [Lane(near, far, rate, round_trip / 2), Lane(far, near, rate, round_trip / 2)]
    near.setblocking(False)
    far.setblocking(False)
    met = time.monotonic() + round_trip
    while lanes:
        now = time.monotonic()
        reading = [(lane, lane.readable_in(now)) for lane in lanes]
        writing = [(lane, lane.writable_in(now)) for lane in lanes]
        waits = [wait for _, wait in (*reading, *writing) if wait]
        readable, writable, _ = select.select(
            [lane.source for lane, wait in reading if wait == 0],
            [lane.target for lane, wait in writing if wait == 0],
            [],
            min(waits) if waits else None,
        )
        now = time.monotonic()
        for lane in list(lanes):
            if lane.source in readable:
                lane.read(now, max(0.0, met - now))
            if lane.target in writable and not lane.write():
                lanes.remove(lane)


def main() -> None:
    """Relay until killed."""
    port, rate, round_trip = (*sys.argv[1:], *("", "")[: 4 - len(sys.argv)])

    def handle(near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", int(port))) as far:
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            carry(near, far, float(rate or RATE), float(round_trip or ROUND_TRIP))

    serve(listening(_WINDOW), handle)


if __name__ == "__main__":
    main()
