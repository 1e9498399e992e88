"""RNNoise, straight from the library inside the `pyrnnoise` wheel.

The wheel's own wrapper is not imported: it loads matplotlib, and wraps around on overflow.
"""

import ctypes
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from diffio_async.sandbox.audio.sound import Block

_SCALE = 32768.0  # RNNoise wants the range of 16-bit samples, as floats
_FLOAT = ctypes.sizeof(ctypes.c_float)


@cache
def library() -> ctypes.CDLL | None:
    """The loaded library, or None where the wheel is missing or is not for this machine."""
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


class Voice:
    """RNNoise listening to one channel.

    It keeps memory of its own inside the library: close it.

    Attributes:
        frame: samples per frame; blocks given to `process` are whole frames.
        delay: samples by which what comes out lags behind what went in.
    """

    def __init__(self) -> None:
        loaded = library()
        if loaded is None:
            raise RuntimeError("RNNoise is not here: pip install 'diffio-async[rnnoise]'")
        self._library = loaded
        self.frame = int(loaded.rnnoise_get_frame_size())
        self.delay = 2 * self.frame
        self._state: int | None = loaded.rnnoise_create(None)
        if not self._state:
            raise MemoryError("RNNoise got no memory")

    def process(self, samples: Block) -> Block:
        """Denoise one channel's samples, as many as they are.

        Raises:
            ValueError: the samples are not whole frames.
        """
        if self._state is None or samples.ndim != 1 or len(samples) % self.frame:
            raise ValueError("RNNoise takes whole frames of one channel, until it is closed")
        scaled = np.ascontiguousarray(samples * _SCALE, np.float32)
        address = scaled.ctypes.data
        for offset in range(0, len(scaled) * _FLOAT, self.frame * _FLOAT):
            here = address + offset
            self._library.rnnoise_process_frame(self._state, here, here)
        return scaled / np.float32(_SCALE)

    def close(self) -> None:
        """Give the memory back; twice does no harm."""
        if self._state is not None:
            self._library.rnnoise_destroy(self._state)
            self._state = None
