"""Sound between the stages of the pipeline: blocks of samples, and a scratch file for them.

With a scratch file, memory use does not depend on the length of the recording.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

RATE = 48_000
"""Samples per second and channel, between decoding and encoding."""

BLOCK = RATE
"""Samples per channel in a usual block: one second."""

Block: TypeAlias = NDArray[np.float32]
"""Samples within ±1, one row per instant and one column per channel."""

_BYTES = np.dtype(np.float32).itemsize


def silence(length: int, channels: int) -> Block:
    """Return a block of silence."""
    return np.zeros((length, channels), np.float32)


def fit_length(blocks: Iterable[Block], length: int, channels: int) -> Iterator[Block]:
    """Yield the same sound, cut or padded with silence to `length` samples."""
    missing = length
    for block in blocks:
        if missing:
            yield block[:missing]
            missing -= min(missing, len(block))
    if missing:
        yield silence(missing, channels)


class SoundFile:
    """Sound in a scratch file; it can be overwritten while it is read.

    Close it (or use `with`). The caller removes the file.
    """

    def __init__(self, path: Path, channels: int) -> None:
        self.channels = channels
        self.length = 0  # samples per channel
        self._file = path.open("w+b")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def seconds(self) -> float:
        """The duration of the sound."""
        return self.length / RATE

    @property
    def size(self) -> int:
        """The number of bytes in the scratch file."""
        return self.length * self.channels * _BYTES

    def write(self, start: int, block: Block) -> None:
        """Write a block at sample `start`; the file grows as needed."""
        self._file.seek(start * self.channels * _BYTES)
        self._file.write(np.ascontiguousarray(block, np.float32).data)
        self.length = max(self.length, start + len(block))

    def append(self, block: Block) -> None:
        """Write a block at the end."""
        self.write(self.length, block)

    def read(self, start: int, length: int) -> Block:
        """Return up to `length` samples from `start`; fewer at the end."""
        length = max(0, min(length, self.length - start))
        self._file.seek(start * self.channels * _BYTES)
        data = self._file.read(length * self.channels * _BYTES)
        return np.frombuffer(data, np.float32).reshape(-1, self.channels)

    def blocks(self) -> Iterator[Block]:
        """Yield the complete sound in blocks of one second."""
        for start in range(0, self.length, BLOCK):
            yield self.read(start, BLOCK)
