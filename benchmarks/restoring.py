"""Restorations by the sandbox: the result of each file, the sync of films, and a long recording.

    python benchmarks/restoring.py files FOLDER
    python benchmarks/restoring.py films
    python benchmarks/restoring.py long [--hours 2]

`files` restores each file of a folder through a client and a sandbox. `films` writes a film in
each format, and one of which half a second of sound is missing, and prints by how much the sound
of the result is late, by cross-correlation with the original, both on the clock of the first
picture. `long` repeats the sample, and restores it in a process of its own.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from harness import MIB, Figures, finish, parser, report

from diffio_async import AsyncDiffio, GenerationFailed
from diffio_async.sandbox import Sandbox
from diffio_async.sandbox.audio import restore

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[1] / "samples" / "noisy-speech.wav"
RATE = 48_000

RESTORE = """
import sys
from pathlib import Path
from diffio_async.sandbox.audio import restore
result = restore(Path(sys.argv[1]), Path(sys.argv[2]), report=lambda *_: None)
print(f"{result.engine}, dry share {result.dry:.2f}, {result.seconds:,.1f} s of sound")
"""


async def files(sources: list[Path]) -> list[Figures]:
    """Return what comes out for each file."""
    rows: list[Figures] = []
    async with Sandbox() as sandbox, AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as d:
        for source in sources:
            try:
                result = await d.restore(source)
            except GenerationFailed as error:
                reason = error.progress and error.progress.reason
                rows.append({"what": source.name, "refused": reason})
                continue
            measured: Any = result.progress.extra["restoration"]
            row = {"what": source.name, "sound_seconds": measured["seconds"]}
            warnings = "; ".join(measured["warnings"])
            if result.progress.has_video and "the video is missing" not in warnings:
                link = await d.generations.get_download(
                    generation_id=result.generation.generation_id,
                    api_project_id=result.project.api_project_id,
                    download_type="video",
                )
                row["video"] = Path(link.file_name or "").suffix
            rows.append({**row, "warnings": warnings})
    return rows


FILMS = [
    ("a.mp4", "libx264", "aac", {}),
    ("fragmented.mp4", "libx264", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    ("a.mov", "mpeg4", "pcm_s16le", {}),
    ("a.mkv", "libx264", "aac", {}),
    ("a.webm", "libvpx", "libopus", {}),
    ("a.ts", "mpeg2video", "mp2", {}),
    ("a.avi", "mpeg4", "libmp3lame", {}),
    ("a.flv", "flv1", "aac", {}),
]


def write_film(
    path: Path,
    sound: NDArray[np.float32],
    video: str,
    audio: str,
    how: dict[str, str],
    *,
    gap: bool,
) -> None:
    """Write noise as the picture, and sound; with a gap, without the sound from 3 to 3.5 s."""
    with av.open(str(path), "w", options=how) as container:
        picture: Any = container.add_stream(video, rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        stream: Any = container.add_stream(audio, rate=RATE, layout="mono")
        chance, size = np.random.default_rng(7), 1152
        for start in range(0, len(sound) - size, size):
            if start * 25 // RATE > (start - size) * 25 // RATE:
                pixels = chance.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                shown = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                shown.pts, shown.time_base = start * 25 // RATE, Fraction(1, 25)
                container.mux(picture.encode(shown))
            frame = av.AudioFrame.from_ndarray(sound[None, start : start + size], "flt", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for packet in stream.encode(frame):
                if not (gap and 3 <= float(packet.pts * packet.time_base) < 3.5):  # noqa: PLR2004
                    container.mux(packet)
        container.mux(picture.encode(None))
        container.mux(stream.encode(None))


def time_line(path: Path) -> NDArray[np.float64]:
    """Return the sound by its time stamps, from the first picture."""
    sound, first, end = np.zeros(30 * RATE), None, 0
    pieces: list[tuple[float, NDArray[np.float64]]] = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0], container.streams.video[0]):
            if packet.stream.type == "video":
                if packet.size and packet.pts is not None:
                    shown = float(packet.pts * packet.time_base)
                    first = shown if first is None else min(first, shown)
                continue
            decoded: list[Any] = [*packet.decode()]
            for frame in decoded:
                at, resampler = float(frame.pts * frame.time_base), av.AudioResampler("flt", "mono")
                frame.pts = None
                pieces.append(
                    (at, np.concatenate([o.to_ndarray()[0] for o in resampler.resample(frame)]))
                )
    for at, piece in pieces:
        start = round((at - (first or 0)) * RATE) + RATE
        sound[start : start + len(piece)] = piece
        end = start + len(piece)
    return sound[:end]


def lag(reference: NDArray[np.float64], sound: NDArray[np.float64]) -> float:
    """Return by how many milliseconds a sound is late."""
    size = 1 << (len(reference) + len(sound)).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(reference, size))
    shift = int(np.fft.irfft(spectrum, size).argmax())
    return (shift if shift < size // 2 else shift - size) * 1000 / RATE


def films() -> list[Figures]:
    """Return by how much the sound of each film is late, at 1, 4 and 7 s."""
    rows: list[Figures] = []
    with av.open(str(SAMPLE)) as given:
        resampler = av.AudioResampler("flt", "mono", RATE)
        frames = [out for frame in given.decode(audio=0) for out in resampler.resample(frame)]
    sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])[: 9 * RATE]
    with tempfile.TemporaryDirectory() as folder:
        for name, video, audio, how in FILMS:
            for gap in (
                (False, True) if name.endswith((".mp4", ".mkv", ".ts", ".webm")) else (False,)
            ):
                source = Path(folder, name)
                write_film(source, sound, video, audio, how, gap=gap)
                result = restore(source, Path(folder, "out"), report=lambda *_: None)
                if result.video is None:
                    sys.exit(f"{name}: {result.warnings}")
                before, after = time_line(source), time_line(result.video)
                late = [
                    lag(before[s * RATE : (s + 1) * RATE], after[s * RATE : (s + 1) * RATE])
                    for s in (2, 5, 8)  # both begin one second before the picture
                ]
                seconds = [len(line) / RATE - 1 for line in (before, after)]
                rows.append(
                    {
                        "what": f"{name}{', gap of 0.5 s' if gap else ''}",
                        "result": result.video.suffix,
                        "seconds_before": seconds[0],
                        "seconds_after": seconds[1],
                        **{f"late_ms_at_{at}_s": x for at, x in zip((1, 4, 7), late, strict=True)},
                    }
                )
    return rows


def repeat_sample(target: Path, seconds: float) -> None:
    """Write the sample again and again as FLAC."""
    with av.open(str(SAMPLE)) as given:
        resampler = av.AudioResampler("s16", "mono", RATE, frame_size=4096)
        frames = [out for frame in given.decode(audio=0) for out in resampler.resample(frame)]
    with av.open(str(target), "w") as container:
        stream: Any = container.add_stream("flac", rate=RATE, layout="mono")
        written = 0
        while written < seconds * RATE:
            for frame in frames:
                frame.pts, frame.time_base = written, Fraction(1, RATE)
                container.mux(stream.encode(frame))
                written += frame.samples
        container.mux(stream.encode(None))


def long(hours: float) -> list[Figures]:
    """Restore a long recording; return what that took."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "long.flac"), Path(folder, "out")
        repeat_sample(source, hours * 3600)
        scratch = 0

        def watch(_: int) -> None:
            nonlocal scratch
            scratch = max(scratch, sum(size_of(path) for path in out.rglob("*")))

        command = (sys.executable, "-c", RESTORE, str(source), str(out))
        printed, cost = finish(*command, watch=watch)
        print(printed)
        share = cost["cpu_seconds"] / hours / 3600
        what = f"{hours:g} h of sound"
        return [{"what": what, **cost, "cpu_to_real_time": share, "scratch_mib": scratch / MIB}]


def size_of(path: Path) -> int:
    """Return the size of a file; 0 if it was removed meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def main() -> None:
    """Run one measurement."""
    given = parser(__doc__)
    choices = ["files", "films", "long"]
    given.add_argument("what", nargs="?", choices=choices, default="films")
    given.add_argument("folder", type=Path, nargs="?", default=SAMPLE.parent)
    given.add_argument("--hours", type=float, default=2)
    arguments = given.parse_args()
    if arguments.what == "files":
        sources = sorted(path for path in arguments.folder.iterdir() if path.suffix != ".md")
        rows = asyncio.run(files(sources))
    else:
        rows = films() if arguments.what == "films" else long(arguments.hours)
    report(rows, arguments)


if __name__ == "__main__":
    main()
