"""Sound between the stages: blocks of samples, filters, loudness, and a scratch file.

With a scratch file, memory use does not depend on the length of the recording.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias, cast

import av
import av.error
import numpy as np
from av.filter import Graph
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


_MARGIN = RATE // 10
"""Samples on both sides of a block that the high-pass sees; its impulse response ends within."""


def layout_name(channels: int) -> str:
    """Return the FFmpeg layout name of one or two channels."""
    return "mono" if channels == 1 else "stereo"


def as_frame(block: Block, start: int) -> av.AudioFrame:
    """Return a block as an FFmpeg frame that begins at sample `start`."""
    flat = np.ascontiguousarray(block, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(flat, format="flt", layout=layout_name(block.shape[1]))
    frame.sample_rate = RATE
    frame.pts = start
    frame.time_base = Fraction(1, RATE)
    return frame


def as_block(frame: av.AudioFrame) -> Block:
    """Return a frame of packed floats as a block."""
    return cast("Block", frame.to_ndarray()).reshape(-1, len(frame.layout.channels))


def high_pass(blocks: Iterable[Block], channels: int, corner: float = 70.0) -> Iterator[Block]:
    """Yield the sound without rumble below `corner` hertz, with unchanged phases.

    A causal filter would shift the low harmonics of a voice, which does more damage than rumble.
    """
    window = BLOCK + 2 * _MARGIN
    frequency = np.fft.rfftfreq(window, 1 / RATE)
    frequency[0] = 1e-6
    response = (1 / (1 + (corner / frequency) ** 4))[:, None]
    buffer, remaining = silence(_MARGIN, channels), 0

    def filtered(samples: Block) -> Block:
        filled = np.concatenate([samples, silence(window - len(samples), channels)])
        spectrum = np.fft.rfft(filled, axis=0) * response
        return np.fft.irfft(spectrum, window, axis=0)[_MARGIN:-_MARGIN].astype(np.float32)

    for block in blocks:
        buffer = np.concatenate([buffer, block])
        remaining += len(block)
        while len(buffer) >= window:
            yield filtered(buffer[:window])
            buffer = buffer[BLOCK:]
            remaining -= BLOCK
    while remaining > 0:
        yield filtered(buffer[:window])[:remaining]
        buffer = buffer[BLOCK:]
        remaining -= BLOCK


class Filters:
    """A chain of FFmpeg filters, fed block by block.

    Args:
        channels: One or two.
        chain: The name and the arguments of each filter.

    Attributes:
        metadata: What filters wrote about the last block that they wrote about.
    """

    def __init__(self, channels: int, *chain: tuple[str, str]) -> None:
        self.metadata: dict[str, str] = {}
        self._graph = Graph()
        previous = self._graph.add_abuffer(
            sample_rate=RATE,
            format="flt",
            layout=layout_name(channels),
            time_base=Fraction(1, RATE),
        )
        for name, arguments in (*chain, ("aformat", "sample_fmts=flt")):
            following = self._graph.add(name, arguments)
            previous.link_to(following)
            previous = following
        previous.link_to(self._graph.add("abuffersink"))
        self._graph.configure()
        self._fed = 0

    def feed(self, block: Block) -> Iterator[Block]:
        """Push a block, and yield the output that is ready; the output may lag behind."""
        self._graph.push(as_frame(block, self._fed))
        self._fed += len(block)
        yield from self._drain()

    def finish(self) -> Iterator[Block]:
        """End the input, and yield the buffered rest of the output."""
        self._graph.push(None)
        yield from self._drain()

    def _drain(self) -> Iterator[Block]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            self.metadata = frame.metadata or self.metadata
            yield as_block(cast("av.AudioFrame", frame))


FRAME_SAMPLES = RATE // 10
"""Samples per measured frame."""

_SILENT_POWER = 1e-12
"""Power that is treated as silence: -120 dBFS."""

_QUIET_SHARES = (0.05, 0.5)
_DEVIATIONS = np.array([[-1.645], [0.0]])
"""Standard deviations from the mean below which those shares of a normal distribution lie."""
_MAX_CORRECTION = 3.0


class _Bands:
    """Powers of windows in bands of frequency, and their level where nobody speaks.

    Args:
        samples: Samples per window; longer windows separate lower frequencies, shorter ones find
            shorter pauses.
        edges: Edges of the bands in Hz.
    """

    def __init__(self, samples: int, *edges: float) -> None:
        self.samples = samples
        self._window = np.hanning(samples).astype(np.float32)[None, :, None]
        self._starts = np.searchsorted(np.fft.rfftfreq(samples, 1 / RATE), edges)
        # The quantiles of a chi-square distribution by Wilson and Hilferty: how far the quieter
        # windows of steady noise lie below its mean. Neighbours are not independent: hence 4/3.
        degrees = 4 / 3 * np.diff(self._starts)
        spread = 2 / (9 * degrees)
        share = (1 - spread + _DEVIATIONS * np.sqrt(spread)) ** 3
        self.corrections = np.minimum(1 / np.maximum(share, 1e-3), _MAX_CORRECTION)

    def powers(self, frames: Block) -> NDArray[np.float32]:
        """Return the power of each frame in each band; the axes are frames, samples, channels."""
        frames = frames[:, : self.samples]
        varying = frames - frames.mean(axis=1, keepdims=True)
        spectrum = np.fft.rfft(varying * self._window, axis=1)
        powers = np.square(np.abs(spectrum)).mean(axis=2) * 2
        scale = self.samples * float(np.square(self._window).sum())
        sums = np.add.reduceat(powers[:, : self._starts[-1]], self._starts[:-1], axis=1)
        return np.asarray(sums / scale, np.float32)


_BANDS = (
    _Bands(FRAME_SAMPLES, 10, 40, 80, 150, 300),
    _Bands(
        RATE // 25,
        *(300, 500, 750, 1000, 1300, 1700, 2200, 2800, 3600, 4600, 6000, 8000, 11000, 15000, 23990),
    ),
)
_CORRECTIONS = np.concatenate([bands.corrections for bands in _BANDS], axis=1)


def decibels(power: float) -> float:
    """Return a power in dBFS; silence is -120."""
    return float(10 * np.log10(max(power, _SILENT_POWER)))


class Meter:
    """Power of each frame of 0.1 s, mean over all channels: in total, and in 18 bands.

    A constant offset is not sound: the mean of each frame is subtracted. An hour takes 2.5 MB. A
    shorter last frame is counted as a frame, so that frame k always starts at k / 10 seconds.

    Attributes:
        clicks: The mean power of the clicks, if they were found.
    """

    def __init__(self) -> None:
        self.clicks = 0.0
        self._powers_so_far: list[NDArray[np.float64]] = []
        self._bands_so_far: list[NDArray[np.float32]] = []
        self._partial_frame: Block | None = None

    def add(self, block: Block) -> None:
        """Measure one more block."""
        if self._partial_frame is not None and len(self._partial_frame):
            block = np.concatenate([self._partial_frame, block])
        complete = len(block) // FRAME_SAMPLES * FRAME_SAMPLES
        if complete:
            frames = block[:complete].reshape(-1, FRAME_SAMPLES, block.shape[1])
            self._powers_so_far.append(_powers(frames))
            self._bands_so_far.append(
                np.concatenate([bands.powers(frames) for bands in _BANDS], axis=1)
            )
        self._partial_frame = block[complete:].copy()

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the same blocks, and measure each."""
        for block in blocks:
            self.add(block)
            yield block

    @property
    def powers(self) -> NDArray[np.float64]:
        """The mean square of each frame so far."""
        frames = list(self._powers_so_far)
        if self._partial_frame is not None and len(self._partial_frame):
            frames.append(_powers(self._partial_frame[None]))
        return np.concatenate(frames) if frames else np.zeros(0)

    @property
    def loudest(self) -> float:
        """The power of the loudest frame."""
        return float(self.powers.max(initial=0.0))

    @property
    def noise(self) -> float:
        """The power of the steady noise: in each band the level that 95 % of the frames exceed.

        That level is raised to the mean of random noise, but to no more than half of the frames
        exceed: hum does not vary. Bands have gaps where a voice has none, so that quick speech is
        not mistaken for noise. Frames of digital silence do not count. Noise that comes and goes
        is underestimated.
        """
        if not self._bands_so_far:
            powers = self.powers
            return float(powers.min(initial=0.0))
        bands = np.concatenate(self._bands_so_far)
        self._bands_so_far = [bands]
        audible = bands.sum(axis=1) > _SILENT_POWER
        if not audible.any():
            return 0.0
        # One band at a time: the bands of ten hours take 30 MB.
        quiet = [np.quantile(band[audible], _QUIET_SHARES) for band in bands.T]
        return float((np.array(quiet).T * _CORRECTIONS).min(axis=0).sum())

    @property
    def loud_frames(self) -> NDArray[np.bool_]:
        """Which frames are speech: within 30 dB of the loud ones.

        "Loud" is the 99th percentile, so that a single click has no influence.
        """
        powers = self.powers
        return powers >= np.quantile(powers, 0.99) * 1e-3 if len(powers) else np.zeros(0, bool)

    @property
    def active(self) -> float:
        """The mean power of the frames of speech, with the noise in them."""
        powers = self.powers
        return float(powers[self.loud_frames].mean()) if len(powers) else 0.0

    @property
    def noise_floor_db(self) -> float:
        """The level of the steady noise, in dBFS."""
        return decibels(self.noise)

    @property
    def speech_to_noise_db(self) -> float | None:
        """The level of speech over steady noise and clicks in dB; None if it cannot be measured."""
        noise = self.noise + self.clicks
        speech = self.active - noise
        return decibels(speech / noise) if min(noise, speech) > _SILENT_POWER else None


def _powers(frames: Block) -> NDArray[np.float64]:
    """Return the power of each frame; the axes are frames, samples and channels."""
    varying = frames - frames.mean(axis=1, keepdims=True, dtype=np.float64)
    return np.asarray(np.square(varying).mean(axis=(1, 2)), np.float64)


_TARGET_DB = -18.0
_MAX_DB = 30.0
_MAX_NOISE_DB = -50.0
_LIMITER = ("alimiter", "limit=0.84:level=0:attack=5:release=50:latency=1")


def gain_for(meter: Meter) -> float:
    """Return the factor that brings speech to -18 dBFS.

    It is at most +30 dB, or more for faint speech as long as its noise stays below -50 dBFS.
    """
    maximum = max(_MAX_DB, _MAX_NOISE_DB - meter.noise_floor_db)
    gain_db = min(_TARGET_DB - decibels(meter.active), maximum)
    return float(10 ** (gain_db / 20))


def normalise(sound: SoundFile, gain: float) -> Iterator[Block]:
    """Yield the sound with the gain applied and its peaks limited to 0.84, at the same length.

    The gain is constant, because a varying one would raise the noise between words.
    """
    return fit_length(_apply_limiter(sound, gain), sound.length, sound.channels)


def _apply_limiter(sound: SoundFile, gain: float) -> Iterator[Block]:
    limiter = Filters(sound.channels, _LIMITER)
    for block in sound.blocks():
        yield from limiter.feed(block * np.float32(gain))
    yield from limiter.finish()
