"""Measurements of a recording, in one pass over its sound: numbers, peaks and a spectrogram.

Memory is bounded: ten hours take about as much as a minute.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from diffio_async._storage.system_errors import reason_of
from diffio_async.errors import InvalidSource
from diffio_async.report.numbers import Numbers
from diffio_async.report.pictures import PeakTrack, Spectrogram
from diffio_async.sandbox.audio.choices import choose_track
from diffio_async.sandbox.audio.decoding import CannotRestore, Limits
from diffio_async.sandbox.audio.sound import BLOCK, RATE, Filters, Meter, decibels, silence
from diffio_async.sandbox.audio.timeline import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffio_async.sandbox.audio.sound import Block

#: Below this level of the loudest tenth of a second, in dBFS, a recording is silent.
_SILENCE_DB = -90.0
#: A sample this close to full scale is clipped if its neighbours are too. Lower than 1, since
#: resampling changes the level of clipped samples by up to 2 %.
_CLIPPED, _CLIPPED_RUN = 0.98, 3
#: Mono sound is played by two speakers, and is that much louder than in one.
_LOUDNESS = ("ebur128", "metadata=1:peak=true:framelog=quiet:dualmono=true")
#: What `ebur128` reports for the loudness if nothing exceeds its absolute gate.
_GATED = -70.0
_UNLIMITED = Limits(seconds=math.inf, decoded_bytes=2**62)


@frozen(kw_only=True)
class Measured:
    """What one pass over a recording found.

    Attributes:
        seconds: Duration of the sound.
        warnings: What could not be read.
    """

    seconds: float
    channels: int
    numbers: Numbers
    peaks: PeakTrack
    warnings: tuple[str, ...]


class SoundReader:
    """The sound of a file at 48 kHz, in blocks of about a second.

    Raises:
        CannotRestore: There is no sound, or it cannot be decoded; the message is for its owner.
        OSError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._track = choose_track(path, _UNLIMITED)
        self._decoder = Decoder(path, self._track, _UNLIMITED)
        self.channels = self._track.channels

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be read; complete after the last block."""
        return tuple(self._decoder.warnings)

    def blocks(self) -> Iterator[Block]:
        """Yield the sound; raises as the constructor does."""
        waiting: list[Block] = []
        for block in self._decoder.blocks(lambda _: None):
            waiting.append(block)
            if sum(map(len, waiting)) >= BLOCK:
                yield np.concatenate(waiting)
                waiting.clear()
        if waiting:
            yield np.concatenate(waiting)


def measure_sound(
    sound: SoundReader, blocks: Iterable[Block], spectrogram: Spectrogram | None = None
) -> Measured:
    """Measure the blocks of a sound, and draw them into a spectrogram."""
    channels = sound.channels
    meter, loudness, clipping = Meter(), Filters(channels, _LOUDNESS), _Clipping()
    peaks = PeakTrack()
    length = 0
    for block in blocks:
        length += len(block)
        meter.add(block)
        clipping.add(block)
        peaks.add(block)
        if spectrogram is not None:
            spectrogram.add(block)
        for _ in loudness.feed(block):
            pass
    for _ in loudness.finish():
        pass
    if spectrogram is not None:
        spectrogram.add(silence(0, channels), is_last=True)
    return Measured(
        seconds=length / RATE,
        channels=channels,
        numbers=_numbers(meter, clipping, loudness.metadata),
        peaks=peaks,
        warnings=sound.warnings,
    )


def _numbers(meter: Meter, clipping: _Clipping, loudness: dict[str, str]) -> Numbers:
    noise, active = meter.noise, meter.active
    if decibels(meter.loudest) < _SILENCE_DB:
        noise = active = 0.0
    integrated = float(loudness.get("lavfi.r128.I", _GATED))
    peak = float(loudness.get("lavfi.r128.true_peak", 0.0))
    return Numbers(
        noise_floor=decibels(noise) if noise > 0 else None,
        speech_level=decibels(active - noise) if active > noise else None,
        clipped=clipping.share,
        lufs=integrated if integrated > _GATED else None,
        true_peak=20 * math.log10(peak) if peak > 0 else None,
    )


def measure_file(path: str) -> Numbers:
    """Return the levels of a recording.

    Raises:
        InvalidSource: The file cannot be read, or contains no sound.
    """
    try:
        sound = SoundReader(Path(path))
        return measure_sound(sound, sound.blocks()).numbers
    except (CannotRestore, OSError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise InvalidSource(f"{path!r} cannot be measured: {reason}") from error


class _Clipping:
    """Share of clipped samples: of runs of at least three that are near full scale."""

    def __init__(self) -> None:
        self._clipped = self._samples = 0

    def add(self, block: Block) -> None:
        """Count one more block; a run that crosses its edge is counted as two."""
        self._samples += block.size
        if len(block) < _CLIPPED_RUN or np.abs(block).max() < _CLIPPED:
            return
        high = np.abs(block) >= _CLIPPED
        starts = high[:-2] & high[1:-1] & high[2:]
        runs = np.zeros_like(high)
        for offset in range(_CLIPPED_RUN):
            runs[offset : offset + len(starts)] |= starts
        self._clipped += int(runs.sum())

    @property
    def share(self) -> float:
        """The fraction of all samples so far, from 0 to 1."""
        return self._clipped / self._samples if self._samples else 0.0
