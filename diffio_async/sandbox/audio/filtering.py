"""Filters that work block by block: a zero-phase high-pass, and ffmpeg's own."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import cast

import av
import av.error
import numpy as np
from av.filter import Graph

from diffio_async.sandbox.audio.sound import BLOCK, RATE, Block, silence

_CONTEXT = RATE // 10
"""The high-pass hears this much on both sides of a block; its echo has died by then (-270 dB)."""


def layout_of(channels: int) -> str:
    """What ffmpeg calls one or two channels."""
    return "mono" if channels == 1 else "stereo"


def as_frame(block: Block, start: int) -> av.AudioFrame:
    """A block as a frame of ffmpeg's that begins at sample `start`."""
    flat = np.ascontiguousarray(block, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(flat, format="flt", layout=layout_of(block.shape[1]))
    frame.sample_rate = RATE
    frame.pts = start
    frame.time_base = Fraction(1, RATE)
    return frame


def as_block(frame: av.AudioFrame) -> Block:
    """A frame of packed floats as a block."""
    return cast("Block", frame.to_ndarray()).reshape(-1, len(frame.layout.channels))


def high_passed(blocks: Iterable[Block], channels: int, corner: float = 70.0) -> Iterator[Block]:
    """The sound without rumble below `corner` hertz, its phases untouched.

    A causal filter would shift the low harmonics of a voice and cost more fidelity than the
    rumble did.
    """
    window = BLOCK + 2 * _CONTEXT
    frequency = np.fft.rfftfreq(window, 1 / RATE)
    frequency[0] = 1e-6
    response = (1 / (1 + (corner / frequency) ** 4))[:, None]
    held, waiting = silence(_CONTEXT, channels), 0

    def passed(piece: Block) -> Block:
        filled = np.concatenate([piece, silence(window - len(piece), channels)])
        spectrum = np.fft.rfft(filled, axis=0) * response
        return np.fft.irfft(spectrum, window, axis=0)[_CONTEXT:-_CONTEXT].astype(np.float32)

    for block in blocks:
        held = np.concatenate([held, block])
        waiting += len(block)
        while len(held) >= window:
            yield passed(held[:window])
            held = held[BLOCK:]
            waiting -= BLOCK
    while waiting > 0:
        yield passed(held[:window])[:waiting]
        held = held[BLOCK:]
        waiting -= BLOCK


class Filters:
    """A chain of ffmpeg's filters, fed block by block.

    Args:
        channels: one or two.
        chain: each filter's name and its arguments.
    """

    def __init__(self, channels: int, *chain: tuple[str, str]) -> None:
        self._graph = Graph()
        last = self._graph.add_abuffer(
            sample_rate=RATE,
            format="flt",
            layout=layout_of(channels),
            time_base=Fraction(1, RATE),
        )
        for name, arguments in (*chain, ("aformat", "sample_fmts=flt")):
            following = self._graph.add(name, arguments)
            last.link_to(following)
            last = following
        last.link_to(self._graph.add("abuffersink"))
        self._graph.configure()
        self._fed = 0

    def feed(self, block: Block) -> Iterator[Block]:
        """Push a block in; what comes out may lag behind."""
        self._graph.push(as_frame(block, self._fed))
        self._fed += len(block)
        yield from self._drain()

    def finish(self) -> Iterator[Block]:
        """Say that nothing follows; what was held back comes out."""
        self._graph.push(None)
        yield from self._drain()

    def _drain(self) -> Iterator[Block]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield as_block(cast("av.AudioFrame", frame))
