"""CPU profile of the event loop's thread, by kind of work."""

from __future__ import annotations

import cProfile
import pstats
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from harness import cpu_seconds, print_heading, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Kinds of work; the first one with a word in a function's file or name applies.
KINDS = (
    ("TLS: encrypting and decrypting", ("_ssl._SSLSocket",)),
    ("TLS: to and from its buffers", ("_ssl.MemoryBIO", "sslproto.py", "/ssl.py")),
    ("sockets", ("_socket.socket", "of 'socket")),
    ("waiting", ("select.epoll", "select.kqueue", "selectors.py")),
    ("aiohttp", ("/aiohttp/", "/yarl/", "/multidict/")),
    ("ours", ("/diffio_async/",)),
    ("asyncio", ("/asyncio/", "_asyncio", "Context")),
)


def kind_of(function: str) -> str:
    """Return the kind of work of a function."""
    return next((kind for kind, words in KINDS if any(word in function for word in words)), "other")


@contextmanager
def profiled() -> Iterator[dict[str, Any]]:
    """Profile the thread of the body; yield CPU seconds by kind, and of the other threads."""
    found: dict[str, Any] = {}
    profile = cProfile.Profile(time.thread_time)
    before, here = cpu_seconds(), time.thread_time()
    profile.enable()
    yield found
    profile.disable()
    kinds: dict[str, float] = {}
    lines = []
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, line, name), (_, calls, own, *_) in stats.items():
        kind = kind_of(f"{file} {name}")
        kinds[kind] = kinds.get(kind, 0.0) + own
        lines.append((own, calls, f"{file}:{line} {name}"))
    kinds["other threads"] = cpu_seconds() - before - (time.thread_time() - here)
    found["profile"] = dict(sorted(kinds.items(), key=lambda item: -item[1]))
    found["profile_lines"] = sorted(lines, reverse=True)[:25]


def print_profile(kinds: Mapping[str, float]) -> None:
    """Print the CPU time by kind of work: seconds and percentage."""
    total = sum(kinds.values()) or 1.0
    print_heading("work", "CPU seconds", "share")
    for kind, own in kinds.items():
        print_line(kind, own, f"{own / total:.0%}")
