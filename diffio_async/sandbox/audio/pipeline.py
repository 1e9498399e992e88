"""The restoration, from a file to files: decode, denoise, level, encode."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import av.logging
from attrs import evolve, frozen

from diffio_async.sandbox.audio import transcribing
from diffio_async.sandbox.audio.decoding import (
    channels_of,
    decoded,
    open_media,
    picture_in,
    sound_in,
)
from diffio_async.sandbox.audio.denoising import denoise, engine_for
from diffio_async.sandbox.audio.encoding import write_mp3
from diffio_async.sandbox.audio.filtering import high_passed
from diffio_async.sandbox.audio.limits import Limits
from diffio_async.sandbox.audio.loudness import gain_for, normalise
from diffio_async.sandbox.audio.metering import Meter, decibels
from diffio_async.sandbox.audio.outcome import CannotRestore, Restored
from diffio_async.sandbox.audio.progress import Progress, Report
from diffio_async.sandbox.audio.sound import RATE, Block, SoundFile
from diffio_async.sandbox.audio.video import write_video

_SHORTEST = 0.1  # seconds
_SILENCE_DB = -70.0
DEFAULT_LIMITS = Limits()


@frozen
class _Measured:
    """What is known of the recording once it is decoded."""

    has_video: bool
    before: Meter  # as it came
    filtered: Meter  # without its rumble


def restore(
    source: Path,
    out_dir: Path,
    *,
    report: Report,
    engine: str | None = None,
    words: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Restored:
    """Restore a recording; blocking, with memory that does not grow with its length.

    The files appear in `out_dir` whole or not at all. Scratch files are kept in `.working`
    there: 192 kB per second and channel.

    Args:
        source: the recording, of any name.
        out_dir: a folder of this restoration's own; made if missing.
        report: told a stage and its percentage, at most ten times a second.
        engine: "rnnoise" or "afftdn" to insist on one; by default the best installed.
        words: write a transcript where a recogniser is installed.
        limits: what the recording may take.

    Raises:
        CannotRestore: with a reason a person can read.
        OSError: the source cannot be read, or the folder not be written.
    """
    av.logging.set_level(av.logging.PANIC)  # damaged recordings would fill the terminal
    working = out_dir / ".working"
    shutil.rmtree(working, ignore_errors=True)  # of a run that was killed
    working.mkdir(parents=True)
    try:
        made = _restore(source, working, report, engine, words=words, limits=limits)
        return _move(made, out_dir)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _restore(
    source: Path,
    working: Path,
    report: Report,
    engine: str | None,
    *,
    words: bool,
    limits: Limits,
) -> Restored:
    with open_media(source) as container:
        channels = channels_of(sound_in(container))
    with SoundFile(working / "sound.f32", channels) as sound:
        heard = _measure(source, sound, report, limits)
        words = words and transcribing.available()
        # Where the time goes: listening for words takes far longer than all the rest.
        denoised, encoded = (0.1, 0.2) if words else (0.6, 1.0)
        stage = Progress(report, "inference")
        chosen = engine_for(channels, heard.filtered, engine)
        after = denoise(sound, chosen, stage.part(0.0, denoised))
        gain = gain_for(after)

        def result(done: Callable[[float], None] = lambda _: None) -> Iterable[Block]:
            return _watched(normalise(sound, gain), sound.length, done)

        audio = working / "restored.mp3"
        write_mp3(result(stage.part(denoised, encoded)), channels, audio)
        transcript = working / "transcript.json" if words else None
        if transcript is not None:
            transcribing.write_transcript(sound, after, gain, transcript, stage.part(encoded, 1))
        stage.finish()
        video = None
        if heard.has_video:
            stage = Progress(report, "restoredVideo")
            video = write_video(source, result, channels, working, stage.part(0, 1))
            stage.finish()
        return Restored(
            audio=audio,
            video=video,
            transcript=transcript,
            has_video=heard.has_video,
            seconds=sound.seconds,
            noise_floor_db=(heard.before.noise_floor_db, after.noise_floor_db),
            speech_to_noise_db=(heard.before.speech_to_noise_db, after.speech_to_noise_db),
            engine=chosen.name,
            transcript_engine=transcribing.ENGINE if words else None,
        )


def _measure(source: Path, sound: SoundFile, report: Report, limits: Limits) -> _Measured:
    """Decode the recording into the scratch file, without its rumble."""
    stage = Progress(report, "preProcessing")
    before, filtered = Meter(), Meter()
    with open_media(source) as container:
        stream, size = sound_in(container), source.stat().st_size
        blocks = before.watch(decoded(container, stream, limits, stage.part(0, 1)))
        for block in filtered.watch(high_passed(blocks, sound.channels)):
            limits.check(
                samples=sound.length + len(block),
                decoded=sound.size + block.nbytes,
                file_size=size,
            )
            sound.append(block)
        has_video = picture_in(container) is not None
    if sound.length < _SHORTEST * RATE:
        raise CannotRestore(
            f"there is too little sound in this file: {sound.seconds:.2f} s, and it takes"
            f" {_SHORTEST} s"
        )
    if decibels(before.loudest) < _SILENCE_DB:
        raise CannotRestore("the recording is silent")
    stage.finish()
    return _Measured(has_video, before, filtered)


def _watched(
    blocks: Iterable[Block], length: int, done: Callable[[float], None]
) -> Iterable[Block]:
    start = 0
    for block in blocks:
        yield block
        start += len(block)
        done(start / length)


def _move(made: Restored, out_dir: Path) -> Restored:
    def placed(path: Path) -> Path:
        return path.replace(out_dir / path.name)

    return evolve(
        made,
        video=made.video and placed(made.video),
        transcript=made.transcript and placed(made.transcript),
        audio=placed(made.audio),
    )
