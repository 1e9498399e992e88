"""Audio restoration for the sandbox: blocking code for a worker process; needs PyAV and NumPy."""

from importlib.util import find_spec

if find_spec("av") is None or find_spec("numpy") is None:
    raise ImportError(
        "restoring sound needs PyAV and NumPy: install the extra 'sandbox' "
        "(pip install -e '.[sandbox]' in a clone)",
        name=__name__,
    )

from diffio_async.sandbox.audio.decoding import CannotRestore, Limits, Probed, probe
from diffio_async.sandbox.audio.pipeline import Restored, restore
from diffio_async.sandbox.audio.results import recogniser_installed, transcribe

__all__ = [
    "CannotRestore",
    "Limits",
    "Probed",
    "Restored",
    "probe",
    "recogniser_installed",
    "restore",
    "transcribe",
]
