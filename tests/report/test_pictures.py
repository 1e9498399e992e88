"""Pictures of a sound: where its peaks and frequencies are, in bounded memory."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from diffio_async.report.pictures import COLUMNS, ROWS, PeakTrack, Spectrogram
from diffio_async.report.scales import COLORS, DB_MAX, DB_MIN, MAX_HZ, MIN_HZ
from tests.report.conftest import RATE, noise, tone

if TYPE_CHECKING:
    from numpy.typing import NDArray


def blocks(sound: NDArray[np.float64], size: int = 40_000) -> list[NDArray[np.float32]]:
    """Return a mono sound as blocks of an odd size."""
    samples = sound.astype(np.float32)[:, None]
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def peaks_of(sound: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """Return the peak of each column in dBFS."""
    track = PeakTrack()
    for block in blocks(sound):
        track.add(block)
    levels = np.frombuffer(base64.b64decode(track.encode(columns)), np.uint8)
    return np.asarray((1 - levels / 255) * DB_MIN)


def pixels_of(sound: NDArray[np.float64], seconds: float | None = None) -> NDArray[np.uint8]:
    """Return the colours of a spectrogram, decoded from its PNG; the axes are rows and columns."""
    spectrogram = Spectrogram(seconds)
    for block in blocks(sound):
        spectrogram.add(block)
    spectrogram.add(np.zeros((0, 1), np.float32), is_last=True)
    png = spectrogram.png()
    assert len(png) < 60_000
    with av.open(io.BytesIO(png), "r") as container:
        frame = next(container.decode(container.streams.video[0]))
        return frame.to_ndarray(format="rgb24").astype(np.uint8)


def row_of(hz: float) -> int:
    """Return the row of a frequency on the mel axis, whose top is the highest."""
    mel = 2595 * np.log10(1 + np.array([MIN_HZ, hz, MAX_HZ]) / 700)
    return ROWS - 1 - int((mel[1] - mel[0]) / (mel[2] - mel[0]) * ROWS)


@pytest.mark.parametrize("seconds", [0.01, 0.3, 7.0, 30.0])
def test_peaks_are_where_the_sound_is(seconds: float) -> None:
    """A sound in the last quarter only has silent columns before, of any length."""
    sound = tone(1000, -6, seconds)
    sound[: len(sound) * 3 // 4] = 0
    peaks = peaks_of(sound, 96)
    assert len(peaks) == 96
    assert peaks[:68].max() == DB_MIN
    assert peaks[76:] == pytest.approx(-6, abs=0.6)


def test_a_peak_of_one_sample_is_kept() -> None:
    """A click in two minutes is in exactly one column, at full height."""
    sound = np.zeros(120 * RATE)
    sound[60 * RATE + 5] = 1.0
    peaks = peaks_of(sound, 1200)
    assert (peaks > -1).sum() == 1
    assert peaks.argmax() == 600


@pytest.mark.parametrize("hz", [200, 1000, 5000])
def test_a_tone_is_a_line_at_its_frequency(hz: int) -> None:
    """The brightest row of a tone is that of its frequency, in every column."""
    image = pixels_of(tone(hz, -30, 3)).astype(int).sum(axis=2)
    assert image.shape == (ROWS, COLUMNS)
    assert abs(image.argmax(axis=0) - row_of(hz)).max() <= 1


@pytest.mark.parametrize(("seconds", "columns"), [(None, 100), (2.0, 400)])
def test_a_short_sound_is_drawn_finely(seconds: float | None, columns: int) -> None:
    """A sound of two seconds has a window each 5 ms if its duration is known, else each 20 ms."""
    image = pixels_of(noise(-30, 2), seconds).astype(int)
    different = (np.diff(image, axis=1) != 0).any(axis=(0, 2)).sum() + 1
    assert different == pytest.approx(columns, rel=0.05)


def test_colours_are_on_one_scale() -> None:
    """A tone above the scale has the last colour, silence the first."""
    image = pixels_of(np.concatenate([tone(1000, DB_MAX + 3, 2), np.zeros(2 * RATE)]))
    assert bytes(image[row_of(1000), 100]).hex() == COLORS[-1][1:]
    assert bytes(image[row_of(1000), -50]).hex() == COLORS[0][1:]


def test_an_empty_sound_has_a_picture() -> None:
    """No sample at all gives the first colour everywhere, and peaks at the minimum."""
    assert {tuple(pixel) for row in pixels_of(np.zeros(0)) for pixel in row} == {
        tuple(bytes.fromhex(COLORS[0][1:]))
    }
    assert peaks_of(np.zeros(0), 96).max() == DB_MIN


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length() -> None:
    """After twenty minutes, as few rows are kept as after one."""
    track, spectrogram = PeakTrack(), Spectrogram()
    block = noise(-30, 10).astype(np.float32)[:, None]
    kept = []
    for _ in range(120):
        track.add(block)
        spectrogram.add(block)
        kept.append(sum(len(rows) for part in (track, spectrogram) for rows in part._reducer._rows))
    assert max(kept) <= 2 * (2400 + COLUMNS)
    assert len(kept) == 120
