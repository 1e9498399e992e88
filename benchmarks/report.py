"""Reports of many recordings: time, CPU, memory and size of the page.

    python benchmarks/report.py [--rows 1 50 500 5000] [--seconds 30] [--jobs 2] [--hours 10]

Each recording is speech with noise of its own, and each result the same speech with less noise:
WAV at 16 kHz before, MP3 after, in two folders. The command `diffio-async report --link` runs in
another process. Memory is the highest sum of the proportional set sizes (PSS) of the command and
its workers, read ten times a second, and the highest resident set of each. `--hours` measures one
recording of that length instead.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from attrs import define
from harness import Figures, finish, parser, report
from numpy.typing import NDArray

SAMPLES = Path(__file__).parents[1] / "samples"
RATE = 16_000
#: Different recordings that are made; the others are copies of them.
DISTINCT = 25

Sound = NDArray[np.float32]


def decode(path: Path) -> Sound:
    """Return a sound at 16 kHz."""
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path), "r") as container:
        frames = [
            out.to_ndarray()[0]
            for frame in container.decode(container.streams.audio[0])
            for out in resampler.resample(frame)
        ]
    return np.concatenate(frames)


def write(path: Path, sound: Sound, codec: str, seconds: float) -> None:
    """Write `seconds` of a sound that is repeated as needed."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, layout="mono")
        remaining, position = int(seconds * RATE), 0
        while remaining > 0:
            part = np.resize(sound, min(len(sound), remaining))
            frame = av.AudioFrame.from_ndarray(part[None, :], format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, position, Fraction(1, RATE)
            resampled = av.AudioResampler(stream.format.name, "mono", RATE).resample(frame)
            container.mux([packet for each in resampled for packet in stream.encode(each)])
            position += len(part)
            remaining -= len(part)
        container.mux(stream.encode(None))


def make_pairs(folder: Path, rows: int, seconds: float) -> None:
    """Write recordings and results below `before` and `after`."""
    clean = decode(SAMPLES / "clean-speech.flac")
    chance = np.random.default_rng(1)
    for name in ("before", "after"):
        (folder / name).mkdir()
    for number in range(rows):
        before = folder / "before" / f"{number:05}.wav"
        after = folder / "after" / f"{number:05}.restored.mp3"
        if number >= DISTINCT:
            for path in (before, after):
                other = path.with_name(path.name.replace(f"{number:05}", f"{number % DISTINCT:05}"))
                shutil.copy(other, path)
            continue
        hiss = chance.standard_normal(len(clean)).astype(np.float32)
        noisy = clean + hiss * np.float32(chance.uniform(0.005, 0.1))
        write(before, noisy.astype(np.float32), "pcm_s16le", seconds)
        write(after, (clean + hiss * np.float32(0.002)).astype(np.float32), "libmp3lame", seconds)


@define
class Memory:
    """Maxima of the memory of a process and its children, in MiB."""

    total: float = 0.0  # the sum of all
    parent: float = 0.0
    worker: float = 0.0

    def watch(self, pid: int) -> None:
        """Read the memory."""
        parts = [_memory(each) for each in (pid, *_children(pid))]
        self.total = max(self.total, sum(pss for pss, _ in parts))
        self.parent = max(self.parent, parts[0][1])
        self.worker = max(self.worker, *(rss for _, rss in parts[1:]), 0.0)


def _children(pid: int) -> list[int]:
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _memory(pid: int) -> tuple[float, float]:
    """Return the proportional and the resident set size in MiB; 0 of an ended process."""
    sizes = {"Pss:": 0.0, "Rss:": 0.0}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, *rest = line.split()
            if name in sizes:
                sizes[name] = int(rest[0]) / 1024
    except OSError:
        pass
    return sizes["Pss:"], sizes["Rss:"]


def measure(folder: Path, jobs: int) -> Figures:
    """Run the command, and return what it took."""
    page, memory = folder / "page.html", Memory()
    pairs = (str(folder / "before"), str(folder / "after"))
    command = ("-m", "diffio_async", "report", *pairs, "-o", str(page), "--link")
    printed, cost = finish(
        *(sys.executable, *command, "--jobs", str(jobs), "--json"), watch=memory.watch
    )
    files = page.with_name("page_files")
    return {
        **cost,
        "html_kib": page.stat().st_size // 1024,
        "files_mib": sum(path.stat().st_size for path in files.iterdir()) / 2**20,
        "peak_mib": memory.total,
        "parent_rss_mib": memory.parent,
        "worker_rss_mib": memory.worker,
        "states": json.loads(printed)["states"],
    }


def main() -> None:
    """Measure each number of rows."""
    given = parser(__doc__)
    given.add_argument("--rows", type=int, nargs="+", default=[1, 50, 500, 5000])
    given.add_argument("--seconds", type=float, default=30.0)
    given.add_argument("--jobs", type=int, default=2)
    given.add_argument("--hours", type=float)
    options = given.parse_args()
    seconds = options.hours * 3600 if options.hours else options.seconds
    found: list[Figures] = []
    for count in [1] if options.hours else options.rows:
        with tempfile.TemporaryDirectory() as name:
            make_pairs(Path(name), count, seconds)
            what = f"report of {count:,} recordings of {seconds:g} s"
            cost = measure(Path(name), options.jobs)
            found.append({"what": what, "who": "diffio-async report", **cost})
    report(found, options)


if __name__ == "__main__":
    main()
