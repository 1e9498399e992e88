"""Helper of the tests that measure or restore sound: recordings from arrays of samples."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write_wav(path: Path, sound: NDArray[np.float64], rate: int = 48_000) -> Path:
    """Write 16-bit PCM; a two-dimensional array has a row per channel."""
    channels = np.atleast_2d(sound)
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(len(channels))
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes((np.clip(channels.T, -1, 1) * 32767).astype("<i2").tobytes())
    return path
