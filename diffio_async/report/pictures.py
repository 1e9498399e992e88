"""Pictures of sound: peaks over time, and a spectrogram as a PNG file."""

from __future__ import annotations

import base64
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from diffio_async.report.scales import COLORS, DB_MAX, DB_MIN, MAX_HZ, MIN_HZ
from diffio_async.sandbox.audio.sound import RATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from diffio_async.sandbox.audio.sound import Block

#: Size of a spectrogram in pixels.
COLUMNS, ROWS = 640, 128
#: Samples per window of a spectrogram; seconds from one to the next, at least and at most.
_WINDOW, _MIN_HOP, _MAX_HOP = 2048, 0.005, 0.02
#: Samples per raw peak, and the columns of peaks that are kept at least.
_PEAK_SAMPLES, _PEAK_COLUMNS = 48, 2400
#: Levels that a spectrogram distinguishes; more would double its size.
_LEVELS = 48


class _Reducer:
    """Rows over time of which neighbours are merged, so that fewer than `2 * limit` are kept.

    Args:
        limit: Number of rows that remain at least, if there were as many; even.
        maximum: Whether rows are merged to their maximum; otherwise to their mean.
    """

    def __init__(self, limit: int, *, maximum: bool) -> None:
        self._limit, self._maximum = limit, maximum
        self._step, self._count = 1, 0
        self._rows: list[NDArray[np.float32]] = []
        self._partial: NDArray[np.float32] | None = None

    def add(self, rows: NDArray[np.float32]) -> None:
        """Append rows."""
        if self._partial is not None:
            rows = np.concatenate([self._partial, rows])
        while len(rows) >= self._step:
            groups = min(len(rows) // self._step, 2 * self._limit - self._count)
            taken = groups * self._step
            self._append(rows[:taken].reshape(groups, self._step, -1))
            rows = rows[taken:]
        self._partial = rows.copy()

    def _append(self, groups: NDArray[np.float32]) -> None:
        self._rows.append(self._merged(groups))
        self._count += len(groups)
        if self._count == 2 * self._limit:
            every = np.concatenate(self._rows)
            self._rows = [self._merged(every.reshape(self._limit, 2, -1))]
            self._count, self._step = self._limit, 2 * self._step

    def _merged(self, groups: NDArray[np.float32]) -> NDArray[np.float32]:
        merged = groups.max(axis=1) if self._maximum else groups.mean(axis=1)
        return np.asarray(merged, np.float32)

    def columns(self, count: int) -> NDArray[np.float32]:
        """Return `count` rows that cover all; rows are repeated if there were fewer."""
        rows = list(self._rows)
        if self._partial is not None and len(self._partial):
            rows.append(self._merged(self._partial[None]))
        if not rows:
            return np.zeros((count, 1), np.float32)
        every = np.concatenate(rows)
        edges = np.arange(count + 1) * len(every) // count
        if self._maximum:
            return np.asarray(np.maximum.reduceat(every, edges[:-1], axis=0), np.float32)
        sums = np.add.reduceat(every, edges[:-1], axis=0)
        return np.asarray(sums / np.maximum(np.diff(edges), 1)[:, None], np.float32)


class PeakTrack:
    """The peak of the sound over time, the loudest of all channels."""

    def __init__(self) -> None:
        self._reducer = _Reducer(_PEAK_COLUMNS, maximum=True)
        self._rest = np.zeros(0, np.float32)

    def add(self, block: Block) -> None:
        """Append a block of sound."""
        samples = np.concatenate([self._rest, np.abs(block).max(axis=1, initial=0.0)])
        complete = len(samples) // _PEAK_SAMPLES * _PEAK_SAMPLES
        self._rest = samples[complete:].copy()
        self._reducer.add(samples[:complete].reshape(-1, _PEAK_SAMPLES).max(axis=1)[:, None])

    def encode(self, columns: int) -> str:
        """Return base64 of a byte for each column: 0 is `DB_MIN` or less, 255 is 0 dBFS."""
        levels = 20 * np.log10(np.maximum(self._reducer.columns(columns)[:, 0], 1e-6))
        scaled = np.clip(np.round((levels - DB_MIN) / -DB_MIN * 255), 0, 255)
        return base64.b64encode(scaled.astype(np.uint8).tobytes()).decode("ascii")


class Spectrogram:
    """Power in mel bands over time, relative to a sine at full scale; the mean of all channels.

    Args:
        seconds: The expected duration, None if unknown; a short sound is shown more finely.
    """

    def __init__(self, seconds: float | None = None) -> None:
        hop = _MAX_HOP if seconds is None else seconds / COLUMNS
        self._hop = int(min(max(hop, _MIN_HOP), _MAX_HOP) * RATE)
        self._reducer = _Reducer(COLUMNS, maximum=False)
        self._rest: Block | None = None

    def add(self, block: Block, *, is_last: bool = False) -> None:
        """Append a block of sound; the last one may be empty. The edges are mirrored."""
        samples = block if self._rest is None else np.concatenate([self._rest, block])
        ends = (_WINDOW // 2 if self._rest is None else 0, _WINDOW // 2 if is_last else 0)
        if any(ends) and len(samples):
            samples = np.pad(samples, (ends, (0, 0)), mode="reflect")
        frames = max(0, (len(samples) - _WINDOW) // self._hop + 1)
        if frames:
            windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW, axis=0)
            self._reducer.add(_mel_powers(windows[: (frames - 1) * self._hop + 1 : self._hop]))
        self._rest = samples[frames * self._hop :].copy() if len(samples) else None

    def png(self) -> bytes:
        """Return a PNG with the highest frequency at the top, and its colours on the dB scale."""
        powers = self._reducer.columns(COLUMNS)
        levels = 10 * np.log10(np.maximum(powers, 1e-12))
        scaled = np.clip((levels - DB_MIN) / (DB_MAX - DB_MIN), 0, 1) * (_LEVELS - 1)
        return _png(np.round(scaled).astype(np.uint8).T[::-1])


def _mel_powers(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the power in each mel band; the axes are windows, channels, samples."""
    spectrum = np.fft.rfft(windows * _hann(), axis=2)
    powers = (np.square(spectrum.real) + np.square(spectrum.imag)).mean(axis=1)
    return np.asarray(powers.astype(np.float32) @ _mel_filters())


@cache
def _hann() -> NDArray[np.float32]:
    return np.hanning(_WINDOW).astype(np.float32)


@cache
def _mel_filters() -> NDArray[np.float32]:
    """Return the triangular weights; the axes are frequencies and bands."""
    frequencies = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    edges = _to_hz(np.linspace(_to_mel(MIN_HZ), _to_mel(MAX_HZ), ROWS + 1))
    centres = (edges[:-1] + edges[1:]) / 2
    # Low bands are narrower than the resolution: they interpolate.
    widths = np.maximum(np.diff(edges), frequencies[1])
    weights = np.maximum(0, 1 - np.abs(frequencies[:, None] - centres) / widths)
    # A sine at full scale within one band has the power 1.
    scale = 4 / (_WINDOW * float(np.square(_hann()).sum()))
    return np.asarray(weights * scale, np.float32)


def _to_mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


@cache
def _palette() -> bytes:
    stops = np.array([[*bytes.fromhex(color[1:])] for color in COLORS], float)
    at = np.linspace(0, len(stops) - 1, _LEVELS)
    channels = [np.interp(at, np.arange(len(stops)), stops[:, n]) for n in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8).tobytes()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG of pixels that are indices of the palette."""
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", _palette()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
