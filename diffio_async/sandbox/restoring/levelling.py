"""Loudness: one gain for the whole recording, and a limiter for the peaks it makes."""

from collections.abc import Iterator

import numpy as np

from .filtering import Filters
from .measuring import Meter, decibels
from .sound import Block, SoundFile, exactly

_TARGET_DB = -18.0
_MOST_DB = 30.0
_LIMITER = ("alimiter", "limit=0.84:level=0:attack=5:release=50:latency=1")


def gain_for(heard: Meter) -> float:
    """The factor that brings active speech to -18 dBFS; at most 30 dB up."""
    wanted = min(_TARGET_DB - decibels(heard.active), _MOST_DB)
    return float(10 ** (wanted / 20))


def levelled(sound: SoundFile, gain: float) -> Iterator[Block]:
    """The whole sound with the gain applied and its peaks below 0.84, of the same length.

    One gain, not a moving one: that would raise the noise between the words again.
    """
    return exactly(_limited(sound, gain), sound.length, sound.channels)


def _limited(sound: SoundFile, gain: float) -> Iterator[Block]:
    limiter = Filters(sound.channels, _LIMITER)
    for block in sound.blocks():
        yield from limiter.feed(block * np.float32(gain))
    yield from limiter.finish()
