"""Fixtures of the report's tests: sounds of known levels, as WAV files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sounds import write_wav

RATE = 48_000
SAMPLES = Path(__file__).parents[2] / "samples"
NOISY, CLEAN = SAMPLES / "noisy-speech.wav", SAMPLES / "clean-speech.flac"

Sound = NDArray[np.float64]
WriteWav = Callable[..., Path]


def tone(hz: float, level_db: float, seconds: float, rate: int = RATE) -> Sound:
    """Return a sine whose amplitude is `level_db` below full scale."""
    times = np.arange(int(seconds * rate)) / rate
    return np.asarray(10 ** (level_db / 20) * np.sin(2 * np.pi * hz * times))


def noise(level_db: float, seconds: float, seed: int = 1) -> Sound:
    """Return white noise whose RMS is `level_db` below full scale."""
    samples = np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    return np.asarray(samples * 10 ** (level_db / 20))


def phrases(level_db: float, seconds: float) -> Sound:
    """Return bursts of a tone of 300 Hz: a second on, a second off; `level_db` is the RMS."""
    sound = tone(300, level_db + 3.01, seconds)
    sound[(np.arange(len(sound)) // RATE) % 2 == 1] = 0
    return sound


@pytest.fixture(name="write_wav")
def write_wav_here(tmp_path: Path) -> WriteWav:
    """Write 16-bit PCM into the test's folder; a two-dimensional array has a row per channel."""

    def write(name: str, sound: Sound, rate: int = RATE) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_wav(path, sound, rate)

    return write
