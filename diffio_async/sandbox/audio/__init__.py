"""The sandbox's restoration: real sound, restored on this machine.

Plain blocking code for a worker process; it needs PyAV and NumPy.
"""

from importlib.util import find_spec

if find_spec("av") is None or find_spec("numpy") is None:
    raise ImportError(
        "restoring sound needs PyAV and NumPy: pip install 'diffio-async[sandbox]'",
        name=__name__,
    )

from diffio_async.sandbox.audio.decoding import probe
from diffio_async.sandbox.audio.limits import Limits
from diffio_async.sandbox.audio.outcome import CannotRestore, Probed, Restored
from diffio_async.sandbox.audio.pipeline import restore

__all__ = ["CannotRestore", "Limits", "Probed", "Restored", "probe", "restore"]
