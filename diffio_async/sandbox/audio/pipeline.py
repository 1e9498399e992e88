"""The restoration pipeline: decode, denoise, normalise, encode."""

import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import av.logging
from attrs import evolve, frozen

from diffio_async.sandbox.audio.choices import choose, choose_track, excerpt_of, has_clicks
from diffio_async.sandbox.audio.decoding import CannotRestore, Limits, is_disk_full
from diffio_async.sandbox.audio.denoising import denoise, make_engine, remove_clicks
from diffio_async.sandbox.audio.film import has_video, write_video
from diffio_async.sandbox.audio.results import write_mp3
from diffio_async.sandbox.audio.sound import (
    RATE,
    Block,
    Meter,
    SoundFile,
    decibels,
    gain_for,
    normalise,
)
from diffio_async.sandbox.audio.timeline import Decoder, Track


@frozen
class Restored:
    """A finished restoration.

    Attributes:
        audio: The restored sound, an MP3.
        video: The original video with the restored sound; None if there is no video, or if it
            cannot be copied.
        has_video: Whether the recording has video.
        seconds: Duration of the decoded sound.
        noise_floor_db: Level between words in dBFS, before and after, both at the loudness of the
            recording, so that they can be compared.
        speech_to_noise_db: Level of speech over steady noise and clicks in dB, before and after.
        engine: The denoiser: "deepfilter", "rnnoise" or "afftdn", with "adeclick + " in front if
            clicks were removed, and "adeclick" alone; None if the sound was left as it is.
        dry: The share of the unprocessed sound in the result, from 0 to 1.
        warnings: What is not restored or not kept, one sentence each.
    """

    audio: Path
    video: Path | None
    has_video: bool
    seconds: float
    noise_floor_db: tuple[float, float]
    speech_to_noise_db: tuple[float | None, float | None]
    engine: str | None
    dry: float
    warnings: list[str]


StageCallback = Callable[[str, float], None]
"""Called with a stage ("preProcessing", "inference", "restoredVideo") and a percentage."""

_MIN_INTERVAL = 0.1  # seconds
_COMPLETE = 100.0


class Progress:
    """Progress of one stage in percent: monotonic, at most ten reports a second, from 0 to 100."""

    def __init__(self, report: StageCallback, stage: str) -> None:
        self._report = report
        self._stage = stage
        self._last_percent = 0.0
        self._next_report_at = time.monotonic() + _MIN_INTERVAL
        report(stage, 0.0)

    def callback(self, start: float, end: float) -> Callable[[float], None]:
        """Return a callback for a step that covers `start` to `end` of the stage (0 to 1).

        The callback takes the fraction of the step that is done, from 0 to 1.
        """

        def on_progress(fraction: float) -> None:
            percent = _COMPLETE * (start + (end - start) * min(max(fraction, 0.0), 1.0))
            now = time.monotonic()
            if now >= self._next_report_at and self._last_percent < percent < _COMPLETE:
                self._last_percent, self._next_report_at = percent, now + _MIN_INTERVAL
                self._report(self._stage, percent)

        return on_progress

    def finish(self) -> None:
        """Report 100 %."""
        self._report(self._stage, _COMPLETE)


_MIN_SECONDS = 0.1  # seconds
_SILENCE_DB = -90.0
DEFAULT_LIMITS = Limits()


@frozen
class _Measured:
    """Measurements of the decoded recording."""

    has_video: bool
    before: Meter


def restore(
    source: Path,
    out_dir: Path,
    *,
    report: StageCallback,
    engine: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Restored:
    """Restore a recording; blocking, with memory use independent of its length.

    The files appear in `out_dir` complete or not at all. Scratch files are in `.working` there:
    192 kB per second and channel.

    Args:
        source: The recording; its name does not matter.
        out_dir: A folder for this restoration alone; created if missing.
        report: Called with a stage and its percentage, at most ten times a second.
        engine: "deepfilter", "rnnoise" or "afftdn"; None for the best that is installed.
        limits: Limits of the recording.

    Raises:
        CannotRestore: The recording cannot be restored; the message is for its owner.
        OSError: The source cannot be read, or the folder not be written.
    """
    av.logging.set_level(av.logging.PANIC)  # FFmpeg prints a line for each damaged packet
    working = out_dir / ".working"
    shutil.rmtree(working, ignore_errors=True)  # left by a killed run
    working.mkdir(parents=True)
    try:
        result = _restore(source, working, report, engine, limits)
        return _publish(result, out_dir)
    except OSError as error:
        if is_disk_full(error):
            raise CannotRestore("the disk of the sandbox is full") from error
        raise
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _restore(
    source: Path,
    working: Path,
    report: StageCallback,
    engine: str | None,
    limits: Limits,
) -> Restored:
    track = choose_track(source, limits)
    channels = track.channels
    with SoundFile(working / "sound.f32", channels) as sound:
        decoder = Decoder(source, track, limits)
        measured = _measure(source, track, decoder, sound, report, limits)
        warnings = decoder.warnings
        denoised = 0.6  # share of the time
        stage = Progress(report, "inference")
        before = after = measured.before
        used = []
        if has_clicks(excerpt_of(sound)):
            used.append("adeclick")
            after = remove_clicks(sound, before)
        choice = choose(sound, engine)
        if choice.dry < 1:
            used.append(choice.engine)
            denoiser = make_engine(choice.engine, channels, after)
            after = denoise(sound, denoiser, after, choice.dry, stage.callback(0.0, denoised))
        gain = gain_for(after)

        def restored_blocks(
            on_progress: Callable[[float], None] = lambda _: None,
        ) -> Iterable[Block]:
            return _with_progress(normalise(sound, gain), sound.length, on_progress)

        audio = working / "restored.mp3"
        write_mp3(restored_blocks(stage.callback(denoised, 1.0)), channels, source, audio)
        stage.finish()
        video = None
        if measured.has_video:
            stage = Progress(report, "restoredVideo")
            try:
                film = write_video(
                    source,
                    track,
                    decoder.start or 0.0,
                    decoder.shifts,
                    restored_blocks,
                    working,
                    stage.callback(0, 1),
                )
                video = film.path
                warnings += film.warnings
            except CannotRestore as reason:  # the sound is restored nevertheless
                warnings.append(f"the video is missing: {reason}")
            stage.finish()
        return Restored(
            audio=audio,
            video=video,
            has_video=measured.has_video,
            seconds=sound.seconds,
            noise_floor_db=(before.noise_floor_db, after.noise_floor_db),
            speech_to_noise_db=(before.speech_to_noise_db, after.speech_to_noise_db),
            engine=" + ".join(used) or None,
            dry=choice.dry,
            warnings=warnings,
        )


def _measure(
    source: Path,
    track: Track,
    decoder: Decoder,
    sound: SoundFile,
    report: StageCallback,
    limits: Limits,
) -> _Measured:
    """Decode the recording into the scratch file, and measure it."""
    stage = Progress(report, "preProcessing")
    before = Meter()
    size = source.stat().st_size
    for block in before.watch(decoder.blocks(stage.callback(0, 1))):
        limits.check(
            samples=sound.length + len(block),
            decoded_bytes=sound.size + block.nbytes,
            file_size=size,
        )
        sound.append(block)
    if sound.length < _MIN_SECONDS * RATE:
        raise CannotRestore(
            "; ".join(
                [
                    f"there is too little sound in this file: {sound.seconds:.2f} s; the minimum"
                    f" is {_MIN_SECONDS} s",
                    *decoder.warnings,
                ]
            )
        )
    if decibels(before.loudest) < _SILENCE_DB:
        raise CannotRestore("the recording is silent")
    stage.finish()
    return _Measured(any(has_video(source, link) for link in track.links or (None,)), before)


def _with_progress(
    blocks: Iterable[Block], length: int, on_progress: Callable[[float], None]
) -> Iterable[Block]:
    start = 0
    for block in blocks:
        yield block
        start += len(block)
        on_progress(start / length)


def _publish(result: Restored, out_dir: Path) -> Restored:
    def moved(path: Path) -> Path:
        return path.replace(out_dir / path.name)

    return evolve(
        result,
        video=result.video and moved(result.video),
        audio=moved(result.audio),
    )
