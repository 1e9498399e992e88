"""Loudness of speech and noise: measurement, and normalisation with a limiter."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from diffio_async.sandbox.audio.filtering import Filters
from diffio_async.sandbox.audio.sound import RATE, Block, SoundFile, fit_length

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
