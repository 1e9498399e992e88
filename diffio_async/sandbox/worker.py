"""The child process in which recordings are restored; a crash in here is not the server's.

Orders come as JSON lines on standard input, what happens goes out as JSON lines on standard output.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO


def main() -> None:
    """Take orders until standard input ends."""
    # Ctrl-C in a terminal reaches the whole process group; stopping is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    # What libraries print must not end up between the messages.
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(5)
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(orders,), daemon=True).start()
    _warm_up()
    while True:
        _restore(orders.get(), out)


def _serve(orders: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin.buffer:
        orders.put(json.loads(line))
    # The server is gone: whatever is being restored is for nobody.
    os._exit(0)


def _warm_up() -> None:
    with contextlib.suppress(ImportError):
        import av  # noqa: F401
        import numpy as np  # noqa: F401

        import diffio_async.sandbox.audio  # noqa: F401


def _restore(order: dict[str, Any], out: TextIO) -> None:
    try:
        from diffio_async.sandbox.audio import CannotRestore, Limits, probe, restore
    except ImportError as error:
        reason = f"the sandbox cannot restore here ({error}); pip install 'diffio-async[sandbox]'"
        _send(out, {"crashed": reason})
        return

    def report(stage: str, percent: float) -> None:
        _send(out, {"stage": stage, "percent": percent})

    try:
        source = Path(order["source"])
        _send(out, {"hasVideo": probe(source).has_video})
        limits = Limits(**order["limits"])
        restored = restore(source, Path(order["out"]), report=report, limits=limits)
    except CannotRestore as error:
        _send(out, {"refused": str(error)})
    except Exception as error:  # noqa: BLE001 - whatever it is, the server must hear of it
        trace = traceback.format_exc()
        _send(out, {"crashed": f"{type(error).__name__}: {error}", "trace": trace})
    else:
        _send(
            out,
            {
                "done": {
                    "audio": restored.audio.name,
                    "video": restored.video and restored.video.name,
                    "transcript": restored.transcript and restored.transcript.name,
                    "seconds": restored.seconds,
                    "engine": restored.engine,
                    "transcriptEngine": restored.transcript_engine,
                    "noiseFloorDb": list(restored.noise_floor_db),
                    "speechToNoiseDb": list(restored.speech_to_noise_db),
                }
            },
        )


def _send(out: TextIO, message: dict[str, Any]) -> None:
    try:
        out.write(json.dumps(message) + "\n")
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main()
