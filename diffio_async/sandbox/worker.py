"""Worker process that restores recordings, so that a crash does not affect the server.

Requests are JSON lines on standard input, and messages are JSON lines on standard output.
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
    """Process requests until standard input ends."""
    # Ctrl-C in a terminal reaches the process group; the parent stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    # Output of libraries must not be mixed with the messages.
    os.dup2(2, 1)
    if hasattr(os, "nice"):
        os.nice(5)
    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(requests,), daemon=True).start()
    _warm_up()
    while True:
        _restore(requests.get(), out)


def _serve(requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    # The server has exited, so the result of a running restoration is useless.
    os._exit(0)


def _warm_up() -> None:
    with contextlib.suppress(ImportError):
        import av  # noqa: F401
        import numpy as np  # noqa: F401

        import diffio_async.sandbox.audio  # noqa: F401


def _restore(request: dict[str, Any], out: TextIO) -> None:
    try:
        from diffio_async.sandbox.audio import CannotRestore, Limits, probe, restore
    except ImportError as error:
        reason = f"the worker cannot restore: {error}"
        _send(out, {"crashed": reason})
        return

    def report(stage: str, percent: float) -> None:
        _send(out, {"stage": stage, "percent": percent})

    try:
        source = Path(request["source"])
        _send(out, {"hasVideo": probe(source).has_video})
        limits = Limits(**request["limits"])
        result = restore(source, Path(request["out"]), report=report, limits=limits)
    except CannotRestore as error:
        _send(out, {"refused": str(error)})
    except Exception as error:  # noqa: BLE001 - reported to the server
        trace = traceback.format_exc()
        _send(out, {"crashed": f"{type(error).__name__}: {error}", "trace": trace})
    else:
        _send(
            out,
            {
                "done": {
                    "audio": result.audio.name,
                    "video": result.video and result.video.name,
                    "transcript": result.transcript and result.transcript.name,
                    "seconds": result.seconds,
                    "engine": result.engine,
                    "transcriptEngine": result.transcript_engine,
                    "noiseFloorDb": list(result.noise_floor_db),
                    "speechToNoiseDb": list(result.speech_to_noise_db),
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
