"""Contenders: this package, the published SDK and curl. Each run is a separate process."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from harness import Figures, finish
from moving.sink import PART

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def sdk(python: str, module: str, order: Mapping[str, object], authority: Path | None) -> Figures:
    """Run the program of one SDK, and return its result."""
    trusted = {"SSL_CERT_FILE": str(authority)} if authority else {}
    command = (python, "-m", f"moving.{module}", json.dumps(order))
    result: Figures = json.loads(finish(*command, variables=trusted)[0])
    return result


def curl(
    base: str,
    authority: Path | None,
    *,
    sources: Sequence[Path] = (),
    results: Sequence[tuple[str, Path]] = (),
    size: int = 0,
    connections: int = 1,
) -> Figures:
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
    return {**finish(*words)[1], "peak_mib": None}


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
