"""Engines that take the noise away, and the pass that runs one over a recording."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Protocol

import numpy as np

from diffio_async.sandbox.audio import rnnoise
from diffio_async.sandbox.audio.filtering import Filters
from diffio_async.sandbox.audio.metering import Meter, decibels
from diffio_async.sandbox.audio.sound import Block, SoundFile, fit_length, silence

_DRY = ((10.0, 25.0), (0.07, 0.3))
"""How much of the sound stays as it came beside RNNoise's, by speech over noise in dB.

A little keeps the weakest consonants; more in a recording that is nearly clean, where the
network costs more than it gains.
"""


class Engine(Protocol):
    """Takes noise away block by block; what comes out lags by `delay` samples."""

    name: str
    delay: int

    def feed(self, block: Block) -> Iterator[Block]:
        """Take a block in, give out what is ready."""
        ...

    def finish(self) -> Iterator[Block]:
        """Give out what was held back, short of the delay."""
        ...

    def close(self) -> None:
        """Release what the engine holds."""
        ...


class Rnnoise:
    """The recurrent network: one state per channel."""

    name = "rnnoise"

    def __init__(self, channels: int, heard: Meter) -> None:
        self._dry = np.float32(np.interp(heard.speech_to_noise_db, *_DRY))
        self._voices = [rnnoise.Voice() for _ in range(channels)]
        self._frame, self.delay = self._voices[0].frame, self._voices[0].delay
        self._waiting = silence(0, channels)
        self._past = silence(self.delay, channels)

    def feed(self, block: Block) -> Iterator[Block]:
        """Denoise whole frames; the rest waits for the next block."""
        self._waiting = np.concatenate([self._waiting, block])
        whole = len(self._waiting) // self._frame * self._frame
        if whole:
            wet = np.stack(
                [v.process(self._waiting[:whole, k]) for k, v in enumerate(self._voices)], axis=1
            )
            line = np.concatenate([self._past, self._waiting[:whole]])
            self._waiting, self._past = self._waiting[whole:], line[whole:]
            yield (wet + self._dry * (line[:whole] - wet)).astype(np.float32, copy=False)

    def finish(self) -> Iterator[Block]:
        """Fill the last frame up."""
        if len(self._waiting):
            missing = self._frame - len(self._waiting)
            yield from self.feed(silence(missing, len(self._voices)))

    def close(self) -> None:
        """Give the library its memory back."""
        for voice in self._voices:
            voice.close()


class Afftdn:
    """ffmpeg's spectral subtraction, told how loud the noise is.

    Its noise floor is a level in dBFS of at most -20, so the sound is brought to where the
    noise lies 9 dB below that (measured to be best) and back again.
    """

    name = "afftdn"
    delay = 1200

    def __init__(self, channels: int, heard: Meter) -> None:
        # A recording that is quite clean has no floor to speak of: stay near the voice.
        floor = max(decibels(heard.noise), decibels(heard.active) - 40)
        self._gain = np.float32(10 ** ((-29 - floor) / 20))
        self._filters = Filters(channels, ("afftdn", "nr=24:nf=-20"))

    def feed(self, block: Block) -> Iterator[Block]:
        """Through the filter, at its own loudness."""
        for out in self._filters.feed(block * self._gain):
            yield out / self._gain

    def finish(self) -> Iterator[Block]:
        """What the filter held."""
        for out in self._filters.finish():
            yield out / self._gain

    def close(self) -> None:
        """Nothing is held beyond the filter itself."""


def engine_for(channels: int, heard: Meter, name: str | None = None) -> Engine:
    """The best engine that is installed, or the one of that name.

    Args:
        channels: one or two.
        heard: what a meter heard of the sound that will be fed.
        name: "rnnoise", "afftdn", or None for the best.

    Raises:
        ValueError: there is no engine of that name.
        RuntimeError: RNNoise was asked for and is not installed.
    """
    if name is None:
        name = "afftdn" if rnnoise.library() is None else "rnnoise"
    if name == "rnnoise":
        return Rnnoise(channels, heard)
    if name == "afftdn":
        return Afftdn(channels, heard)
    raise ValueError(f"there is no engine {name!r}: rnnoise and afftdn are")


def denoise(sound: SoundFile, engine: Engine, done: Callable[[float], None]) -> Meter:
    """Take the noise out of a recording, in place.

    Args:
        sound: the recording; its length stays.
        engine: fresh; it is closed at the end.
        done: told the part that is done, from 0 to 1.

    Returns:
        What a meter hears of the result.
    """
    heard = Meter()
    try:
        start = 0
        # What comes out never overtakes what was read: the delay is cut from the front.
        late = fit_length(_late(sound, engine), sound.length, sound.channels)
        for block in heard.watch(late):
            sound.write(start, block)
            start += len(block)
            done(start / sound.length)
    finally:
        engine.close()
    return heard


def _late(sound: SoundFile, engine: Engine) -> Iterator[Block]:
    early = engine.delay
    tail: Iterable[Block] = [silence(engine.delay, sound.channels)]
    fed = (out for block in chain(sound.blocks(), tail) for out in engine.feed(block))
    for out in chain(fed, engine.finish()):
        if early < len(out):
            yield out[early:]
        early -= min(early, len(out))
