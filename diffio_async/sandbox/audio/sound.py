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
    """

    def __init__(self, channels: int, *chain: tuple[str, str]) -> None:
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
            yield as_block(cast("av.AudioFrame", frame))


FRAME_SAMPLES = RATE // 10
"""Samples per measured frame."""

_SILENT_POWER = 1e-12
"""Power that is treated as silence: -120 dBFS."""


def decibels(power: float) -> float:
    """Return a power in dBFS; silence is -120."""
    return float(10 * np.log10(max(power, _SILENT_POWER)))


class Meter:
    """The mean power of each frame of 0.1 s, over all channels.

    An hour is 36,000 numbers. A shorter last frame is counted as a frame, so that frame k always
    starts at k / 10 seconds.
    """

    def __init__(self) -> None:
        self._powers_so_far: list[NDArray[np.float64]] = []
        self._partial_frame: Block | None = None

    def add(self, block: Block) -> None:
        """Measure one more block."""
        if self._partial_frame is not None and len(self._partial_frame):
            block = np.concatenate([self._partial_frame, block])
        complete = len(block) // FRAME_SAMPLES * FRAME_SAMPLES
        if complete:
            self._powers_so_far.append(_powers(block[:complete]))
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
            frames.append(np.array([np.square(self._partial_frame).mean()], np.float64))
        return np.concatenate(frames) if frames else np.zeros(0)

    @property
    def loudest(self) -> float:
        """The power of the loudest frame."""
        return float(self.powers.max(initial=0.0))

    @property
    def noise(self) -> float:
        """The power between words: the mean of the quietest tenth of the frames."""
        powers = np.sort(self.powers)
        return float(powers[: max(1, len(powers) // 10)].mean()) if len(powers) else 0.0

    @property
    def active(self) -> float:
        """The mean power of speech: of the frames within 30 dB of the loud ones.

        "Loud" is the 99th percentile, so that a single click has no influence.
        """
        powers = self.powers
        if not len(powers):
            return 0.0
        return float(powers[powers >= np.quantile(powers, 0.99) * 1e-3].mean())

    @property
    def noise_floor_db(self) -> float:
        """The level between words, in dBFS."""
        return decibels(self.noise)

    @property
    def speech_to_noise_db(self) -> float:
        """The signal-to-noise ratio in dB; frames of over twice the noise power count as speech."""
        noise = max(self.noise, _SILENT_POWER)
        speech = self.powers[self.powers > 2 * noise]
        if not len(speech):
            return 0.0
        return decibels((float(speech.mean()) - noise) / noise)


def _powers(block: Block) -> NDArray[np.float64]:
    squares = np.square(block, dtype=np.float64).reshape(-1, FRAME_SAMPLES * block.shape[1])
    return np.asarray(squares.mean(axis=1), np.float64)


_TARGET_DB = -18.0
_MAX_DB = 30.0
_LIMITER = ("alimiter", "limit=0.84:level=0:attack=5:release=50:latency=1")


def gain_for(meter: Meter) -> float:
    """Return the factor that brings speech to -18 dBFS; at most +30 dB."""
    gain_db = min(_TARGET_DB - decibels(meter.active), _MAX_DB)
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
