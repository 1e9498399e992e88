"""Memory of the buffers of small uploads."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Allocates the buffers of 16 small uploads again and again; prints the page faults of each round.
PROGRAM = """
import resource
from diffio_async import AsyncDiffio
client = AsyncDiffio("key", base_url="http://127.0.0.1:9")
client.projects._uploader

def use():
    for _ in range(100):
        buffers = [bytearray(256 * 1024) for _ in range(16)]
        del buffers

use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 100)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators differ")
def test_buffers_are_not_obtained_from_the_system_again() -> None:
    """Otherwise each round has a page fault for each of 1,024 pages."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) < 100
