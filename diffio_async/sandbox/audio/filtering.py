"""Filters that work block by block: a zero-phase high-pass, and those of FFmpeg."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import cast

import av
import av.error
import numpy as np
from av.filter import Graph

from diffio_async.sandbox.audio.sound import BLOCK, RATE, Block, silence

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
