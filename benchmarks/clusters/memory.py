"""Memory of the processes of a cluster: many generations in flight, many files, and large files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clusters.running import on_sandbox, on_sink, write_files
from harness import Figures

if TYPE_CHECKING:
    from pathlib import Path

_GIB = 1024**3


def in_flight(count: int, *, tls: bool) -> list[Figures]:
    """Return the memory of the coordinator and the scheduler with generations that do not end."""
    settings = {"duration": 36000, "keep_requests": 1000}
    with on_sandbox(settings, tls=tls) as cluster:
        cluster.start_workers(2)
        source = write_files(cluster.folder, count, 256)
        found = cluster.restore(
            source, files=count, in_flight=count, until=lambda now: now["generating"] >= count
        )
        return _rows(f"{count:,} generations in flight", found)


def per_file(count: int, workers: int) -> list[Figures]:
    """Return the memory of all processes after each tenth of many small files."""
    rows, seen = list[Figures](), 0

    def sample(now: dict[str, Figures]) -> None:
        nonlocal seen
        if now["coordinator"]["done"] >= (seen + 1) * count // 10:
            seen = now["coordinator"]["done"] * 10 // count
            rows.extend(_rows(f"{now['coordinator']['done']:,} files", now))

    with on_sandbox({"duration": 0, "keep_requests": 1000}) as cluster:
        cluster.start_workers(workers)
        source = write_files(cluster.folder, count, 256)
        cluster.restore(source, files=count, on_sample=sample)
    return rows


def large_files(count: int, size: int) -> list[Figures]:
    """Return the memory of a worker that moves large files at once, up and down."""
    with on_sink(threads=count) as cluster:
        cluster.start_workers(1)
        source = sparse_files(cluster.folder, count, size)
        found = cluster.restore(source, files=count)
    return _rows(f"{count} files of {size / _GIB:g} GiB", found)


def sparse_files(folder: Path, count: int, size: int) -> Path:
    """Write files that take no space on the disk, all of them different; return their folder."""
    source = folder / "in"
    source.mkdir()
    for number in range(count):
        with (source / f"{number:04}.wav").open("wb") as file:
            file.write(f"{number:08}".encode())
            file.truncate(size)
    return source


def _rows(what: str, found: dict[str, Figures]) -> list[Figures]:
    names = ("resident_mib", "peak_mib", "grown_mib", "tasks", "cpu_seconds")
    return [
        {"what": what, "who": who, **{name: each[name] for name in names if name in each}}
        for who, each in found.items()
    ]
