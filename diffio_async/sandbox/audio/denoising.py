"""Denoising engines, and the pass that runs one over a recording.

RNNoise is loaded with ctypes from the library in the `pyrnnoise` wheel. The wheel's own wrapper is
not imported: it loads matplotlib, and its samples wrap around on overflow.
"""

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from diffio_async.sandbox.audio.sound import (
    Block,
    Filters,
    Meter,
    SoundFile,
    decibels,
    fit_length,
    silence,
)

_SCALE = 32768.0  # RNNoise expects floats in the range of 16-bit samples
_FLOAT = ctypes.sizeof(ctypes.c_float)


@cache
def library() -> ctypes.CDLL | None:
    """Return the loaded library, or None if the wheel is missing or is for another platform."""
    spec = find_spec("pyrnnoise")
    if spec is None or not spec.submodule_search_locations:
        return None
    name = {"darwin": "librnnoise.dylib", "win32": "rnnoise.dll"}.get(sys.platform, "librnnoise.so")
    try:
        loaded = ctypes.CDLL(str(Path(spec.submodule_search_locations[0]) / name))
        loaded.rnnoise_create.argtypes = [ctypes.c_void_p]
        loaded.rnnoise_create.restype = ctypes.c_void_p
        loaded.rnnoise_destroy.argtypes = [ctypes.c_void_p]
        loaded.rnnoise_destroy.restype = None
        loaded.rnnoise_get_frame_size.argtypes = []
        loaded.rnnoise_get_frame_size.restype = ctypes.c_int
        loaded.rnnoise_process_frame.argtypes = [ctypes.c_void_p] * 3
        loaded.rnnoise_process_frame.restype = ctypes.c_float
    except (OSError, AttributeError):
        return None
    return loaded


class RnnoiseChannel:
    """RNNoise state of one channel; `close` frees its memory in the library.

    Attributes:
        frame: Samples per frame; `process` takes complete frames.
        delay: Samples by which the output lags behind the input.
    """

    def __init__(self) -> None:
        loaded = library()
        if loaded is None:
            raise RuntimeError(
                "RNNoise is not installed: install the extra 'rnnoise' "
                "(pip install -e '.[rnnoise]' in a clone)"
            )
        self._library = loaded
        self.frame = int(loaded.rnnoise_get_frame_size())
        self.delay = 2 * self.frame
        self._state: int | None = loaded.rnnoise_create(None)
        if not self._state:
            raise MemoryError("RNNoise could not allocate its state")

    def process(self, samples: Block) -> Block:
        """Return the denoised samples of one channel.

        Raises:
            ValueError: The samples are not complete frames, or the state is closed.
        """
        if self._state is None or samples.ndim != 1 or len(samples) % self.frame:
            raise ValueError(
                "RNNoise takes complete frames of one channel, and only before it is closed"
            )
        scaled = np.ascontiguousarray(samples * _SCALE, np.float32)
        address = scaled.ctypes.data
        for offset in range(0, len(scaled) * _FLOAT, self.frame * _FLOAT):
            frame_address = address + offset
            self._library.rnnoise_process_frame(self._state, frame_address, frame_address)
        return scaled / np.float32(_SCALE)

    def close(self) -> None:
        """Free the memory; idempotent."""
        if self._state is not None:
            self._library.rnnoise_destroy(self._state)
            self._state = None


_DRY_MIX = ((10.0, 25.0), (0.07, 0.3))
"""Share of the unprocessed sound that is mixed in, by signal-to-noise ratio in dB.

A small share keeps the weakest consonants. It is larger in recordings that are nearly clean, where
the network does more damage than good.
"""


class Engine(Protocol):
    """A denoiser that works block by block; its output lags by `delay` samples."""

    name: str
    delay: int

    def feed(self, block: Block) -> Iterator[Block]:
        """Process a block and yield the output that is ready."""
        ...

    def finish(self) -> Iterator[Block]:
        """Yield the buffered rest of the output; the last `delay` samples stay inside."""
        ...

    def close(self) -> None:
        """Release the resources of the engine."""
        ...


class Rnnoise:
    """The RNNoise network, with one state per channel."""

    name = "rnnoise"

    def __init__(self, channels: int, meter: Meter) -> None:
        self._dry = np.float32(np.interp(meter.speech_to_noise_db, *_DRY_MIX))
        self._channels = [RnnoiseChannel() for _ in range(channels)]
        self._frame, self.delay = self._channels[0].frame, self._channels[0].delay
        self._buffer = silence(0, channels)
        self._previous_input = silence(self.delay, channels)

    def feed(self, block: Block) -> Iterator[Block]:
        """Denoise complete frames; the rest is buffered for the next block."""
        self._buffer = np.concatenate([self._buffer, block])
        complete = len(self._buffer) // self._frame * self._frame
        if complete:
            denoised = np.stack(
                [v.process(self._buffer[:complete, k]) for k, v in enumerate(self._channels)],
                axis=1,
            )
            delayed = np.concatenate([self._previous_input, self._buffer[:complete]])
            self._buffer, self._previous_input = self._buffer[complete:], delayed[complete:]
            yield (denoised + self._dry * (delayed[:complete] - denoised)).astype(
                np.float32, copy=False
            )

    def finish(self) -> Iterator[Block]:
        """Pad the last frame with silence and denoise it."""
        if len(self._buffer):
            missing = self._frame - len(self._buffer)
            yield from self.feed(silence(missing, len(self._channels)))

    def close(self) -> None:
        """Free the memory of the library."""
        for voice in self._channels:
            voice.close()


class Afftdn:
    """FFmpeg's spectral subtraction, tuned to the measured noise level.

    The filter accepts noise floors up to -20 dBFS. The sound is therefore scaled so that its noise
    lies 9 dB below that (the best value measured), and scaled back afterwards.
    """

    name = "afftdn"
    delay = 1200

    def __init__(self, channels: int, meter: Meter) -> None:
        # In a nearly clean recording, assume a noise floor 40 dB below speech.
        noise_level = max(decibels(meter.noise), decibels(meter.active) - 40)
        self._gain = np.float32(10 ** ((-29 - noise_level) / 20))
        self._filters = Filters(channels, ("afftdn", "nr=24:nf=-20"))

    def feed(self, block: Block) -> Iterator[Block]:
        """Filter a block, and yield the output at the loudness of the input."""
        for out in self._filters.feed(block * self._gain):
            yield out / self._gain

    def finish(self) -> Iterator[Block]:
        """Yield the output that the filter still buffers."""
        for out in self._filters.finish():
            yield out / self._gain

    def close(self) -> None:
        """Do nothing: the filter is freed with this object."""


def engine_for(channels: int, meter: Meter, name: str | None = None) -> Engine:
    """Return the best engine that is installed, or the one named.

    Args:
        channels: One or two.
        meter: The measurement of the sound that will be processed.
        name: "rnnoise", "afftdn", or None for the best.

    Raises:
        ValueError: There is no engine of that name.
        RuntimeError: RNNoise is named and is not installed.
    """
    if name is None:
        name = "afftdn" if library() is None else "rnnoise"
    if name == "rnnoise":
        return Rnnoise(channels, meter)
    if name == "afftdn":
        return Afftdn(channels, meter)
    raise ValueError(f"there is no engine {name!r}; use 'rnnoise' or 'afftdn'")


def denoise(sound: SoundFile, engine: Engine, on_progress: Callable[[float], None]) -> Meter:
    """Denoise a recording in place.

    Args:
        sound: The recording; its length does not change.
        engine: An unused engine; it is closed at the end.
        on_progress: Called with the fraction that is done, from 0 to 1.

    Returns:
        The measurement of the result.
    """
    meter = Meter()
    try:
        start = 0
        # The output is written behind the position that is read; the delay is cut from its start.
        delayed_output = fit_length(_delayed_output(sound, engine), sound.length, sound.channels)
        for block in meter.watch(delayed_output):
            sound.write(start, block)
            start += len(block)
            on_progress(start / sound.length)
    finally:
        engine.close()
    return meter


def _delayed_output(sound: SoundFile, engine: Engine) -> Iterator[Block]:
    to_skip = engine.delay
    tail: Iterable[Block] = [silence(engine.delay, sound.channels)]
    denoised = (out for block in chain(sound.blocks(), tail) for out in engine.feed(block))
    for out in chain(denoised, engine.finish()):
        if to_skip < len(out):
            yield out[to_skip:]
        to_skip -= min(to_skip, len(out))
