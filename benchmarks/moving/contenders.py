"""Contenders: this package, the published SDK and curl. Each run is a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from moving.serving import HERE
from moving.sink import PART

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MIB = 1024 * 1024


class Failed(Exception):
    """A contender failed."""


def sdk(
    python: str, module: str, order: Mapping[str, object], authority: Path | None
) -> dict[str, Any]:
    """Run the program of one SDK, and return its result."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    if authority:
        environment["SSL_CERT_FILE"] = str(authority)
    done = subprocess.run(  # noqa: S603
        [python, "-m", f"moving.{module}", json.dumps(order)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{module}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def curl(
    base: str,
    authority: Path | None,
    *,
    sources: Sequence[Path] = (),
    results: Sequence[tuple[str, Path]] = (),
    size: int = 0,
    connections: int = 1,
) -> dict[str, Any]:
    """Transfer bodies with one curl: files to the edge, or ranges (`0-99`) of a result."""
    words = ["curl", "--silent", "--show-error", "--fail", "--http1.1", "--header", "Expect:"]
    if authority:
        words += ["--cacert", str(authority)]
    if connections > 1:
        words += ["--parallel", "--parallel-immediate", "--parallel-max", str(connections)]
    for number, source in enumerate(sources, 1):
        words += ["-T", str(source), "-o", os.devnull, f"{base}/v1/uploads/parts/{number}"]
    shared = words[1:]
    for number, (span, path) in enumerate(results):
        words += [*(["--next", *shared] if number else []), *(["-r", span] if span else [])]
        words += ["-o", str(path), f"{base}/media/{size}?signature=none"]
    began = time.perf_counter()
    process = subprocess.Popen(words, stderr=subprocess.PIPE)  # noqa: S603
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    error = process.stderr.read() if process.stderr else b""
    process.communicate()
    if process.returncode:
        raise Failed(f"curl: {error.decode()}")
    return {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime, "peak_mib": None}


def ranges(size: int, connections: int) -> list[str]:
    """Return the ranges of a result for some connections, equally long but for the last."""
    step = -(-size // connections)
    return [f"{at}-{min(size, at + step) - 1}" for at in range(0, size, step)]


def pieces(source: Path, folder: Path) -> list[Path]:
    """Split a file into files of one part each, since curl sends only complete files."""
    cut: list[Path] = []
    with source.open("rb") as file:
        while part := file.read(PART):
            path = folder / f"part-{len(cut) + 1}"
            path.write_bytes(part)
            cut.append(path)
    return cut


def with_published(folder: Path) -> str:
    """Create an environment with `diffio==0.3.10`; return the path of its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603
    python = str(folder / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "diffio==0.3.10"]
    subprocess.run(install, check=True)  # noqa: S603
    return python
