"""How loud speech and noise are: one power per tenth of a second, and what follows from them."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from diffio_async.sandbox.audio.sound import RATE, Block

FRAME = RATE // 10
"""Samples per measured frame."""

_NOTHING = 1e-12
"""The power that counts as silence: -120 dBFS."""


def decibels(power: float) -> float:
    """A power as dB over full scale; silence is -120."""
    return float(10 * np.log10(max(power, _NOTHING)))


class Meter:
    """Listens to blocks and remembers one power per frame, over all channels.

    An hour is 36,000 numbers. A last piece shorter than a frame counts as a frame of its own,
    so the frames' times are exact: frame k starts at k / 10 seconds.
    """

    def __init__(self) -> None:
        self._known: list[NDArray[np.float64]] = []
        self._rest: Block | None = None

    def add(self, block: Block) -> None:
        """Measure one more block."""
        if self._rest is not None and len(self._rest):
            block = np.concatenate([self._rest, block])
        whole = len(block) // FRAME * FRAME
        if whole:
            self._known.append(_powers(block[:whole]))
        self._rest = block[whole:].copy()

    def watch(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks, each measured as it passes."""
        for block in blocks:
            self.add(block)
            yield block

    @property
    def powers(self) -> NDArray[np.float64]:
        """Mean square of every frame so far."""
        frames = list(self._known)
        if self._rest is not None and len(self._rest):
            frames.append(np.array([np.square(self._rest).mean()], np.float64))
        return np.concatenate(frames) if frames else np.zeros(0)

    @property
    def loudest(self) -> float:
        """Power of the loudest frame."""
        return float(self.powers.max(initial=0.0))

    @property
    def noise(self) -> float:
        """Power between the words: the mean of the quietest tenth."""
        powers = np.sort(self.powers)
        return float(powers[: max(1, len(powers) // 10)].mean()) if len(powers) else 0.0

    @property
    def active(self) -> float:
        """Mean power while somebody speaks: of what lies within 30 dB of the loud frames.

        The loud frames are the 99th in a hundred, so that one click does not decide.
        """
        powers = self.powers
        if not len(powers):
            return 0.0
        return float(powers[powers >= np.quantile(powers, 0.99) * 1e-3].mean())

    @property
    def noise_floor_db(self) -> float:
        """Level between the words, in dBFS."""
        return decibels(self.noise)

    @property
    def speech_to_noise_db(self) -> float:
        """Speech over noise in dB, taking what is louder than the noise for speech."""
        noise = max(self.noise, _NOTHING)
        loud = self.powers[self.powers > 2 * noise]
        if not len(loud):
            return 0.0
        return decibels((float(loud.mean()) - noise) / noise)


def _powers(block: Block) -> NDArray[np.float64]:
    squares = np.square(block, dtype=np.float64).reshape(-1, FRAME * block.shape[1])
    return np.asarray(squares.mean(axis=1), np.float64)
