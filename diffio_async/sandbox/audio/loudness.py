"""Loudness: one gain for the whole recording, and a limiter for the peaks it makes."""

from collections.abc import Iterator

import numpy as np

from diffio_async.sandbox.audio.filtering import Filters
from diffio_async.sandbox.audio.metering import Meter, decibels
from diffio_async.sandbox.audio.sound import Block, SoundFile, fit_length

_TARGET_DB = -18.0
_MAX_DB = 30.0
_LIMITER = ("alimiter", "limit=0.84:level=0:attack=5:release=50:latency=1")


def gain_for(heard: Meter) -> float:
    """The factor that brings active speech to -18 dBFS; at most 30 dB up."""
    wanted = min(_TARGET_DB - decibels(heard.active), _MAX_DB)
    return float(10 ** (wanted / 20))


def normalise(sound: SoundFile, gain: float) -> Iterator[Block]:
    """The whole sound with the gain applied and its peaks below 0.84, of the same length.

    One gain, not a moving one: that would raise the noise between the words again.
    """
    return fit_length(_limited(sound, gain), sound.length, sound.channels)


def _limited(sound: SoundFile, gain: float) -> Iterator[Block]:
    limiter = Filters(sound.channels, _LIMITER)
    for block in sound.blocks():
        yield from limiter.feed(block * np.float32(gain))
    yield from limiter.finish()
