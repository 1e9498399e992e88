"""Transcripts of restored sound: words with their times."""

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from diffio_async.sandbox.audio.decoding import CannotRestore, Limits
from diffio_async.sandbox.audio.sound import (
    FRAME_SAMPLES,
    RATE,
    Block,
    Meter,
    SoundFile,
    as_frame,
)
from diffio_async.sandbox.audio.timeline import Decoder
from diffio_async.sandbox.audio.tracks import choose_track

RECOGNISER = "pocketsphinx"
LANGUAGE = "en-US"

_RECOGNISER_RATE = 16_000
_FRAMES_PER_SECOND = 100  # of the recogniser, not of the meter
_MIN_FRAMES, _MAX_FRAMES = 80, 200  # an utterance, in frames of the meter: 8 to 20 s
_MIN_RELATIVE_POWER = 10**-2.5  # of the loudest frame: quieter utterances contain no speech
_BEAM_WIDTH = 4_000  # active states: half the CPU time of 30,000 at the same accuracy


def recogniser_installed() -> bool:
    """Return whether the recogniser is installed."""
    return find_spec("pocketsphinx") is not None


def split_utterances(powers: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Yield the first and last frame of each utterance, cut at quiet frames 8 to 20 s apart."""
    start = 0
    while len(powers) - start > _MAX_FRAMES:
        window = powers[start + _MIN_FRAMES : start + _MAX_FRAMES]
        end = start + _MIN_FRAMES + int(window.argmin())
        yield start, end
        start = end
    if start < len(powers):
        yield start, len(powers)


def transcribe(audio: Path, out_dir: Path) -> Path:
    """Write the transcript of a restored sound as JSON; blocking.

    It has the text, its words with start and end in seconds, the language and the engine. Scratch
    files are in `.transcribing` in the folder: 192 kB per second and channel.

    Args:
        audio: The restored sound.
        out_dir: The folder in which the transcript appears when it is complete.

    Raises:
        CannotRestore: The sound cannot be decoded, or the recogniser is not installed.
    """
    if not recogniser_installed():
        raise CannotRestore("no speech recogniser is installed")
    working = out_dir / ".transcribing"
    shutil.rmtree(working, ignore_errors=True)  # left by a killed run
    working.mkdir()
    try:
        limits = Limits()
        track, meter = choose_track(audio, limits), Meter()
        with SoundFile(working / "sound.f32", track.channels) as sound:
            for block in meter.watch(Decoder(audio, track, limits).blocks(lambda _: None)):
                sound.append(block)
            words = _words_of(sound, meter)
        transcript = {
            "text": " ".join(word["word"] for word in words),
            "words": words,
            "language": LANGUAGE,
            "engine": RECOGNISER,
        }
        written = working / "transcript.json"
        written.write_text(json.dumps(transcript, indent=1) + "\n", encoding="utf-8")
        return written.replace(out_dir / written.name)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _words_of(sound: SoundFile, meter: Meter) -> list[dict[str, Any]]:
    words: list[dict[str, Any]] = []
    powers, recogniser = meter.powers, _recogniser()
    for first, last in split_utterances(powers):
        if powers[first:last].max() > powers.max() * _MIN_RELATIVE_POWER:
            speech = sound.read(first * FRAME_SAMPLES, (last - first) * FRAME_SAMPLES)
            words += _words(recogniser, speech, first * FRAME_SAMPLES / RATE)
    return words


def _recogniser() -> Any:
    import pocketsphinx

    pocketsphinx.set_loglevel("FATAL")
    return pocketsphinx.Decoder(samprate=float(_RECOGNISER_RATE), maxhmmpf=_BEAM_WIDTH)


def _words(recogniser: Any, speech: Block, start_seconds: float) -> Iterator[dict[str, Any]]:
    recogniser.start_utt()
    recogniser.process_raw(_resample(speech), full_utt=True)
    recogniser.end_utt()
    for segment in recogniser.seg() or ():
        word = str(segment.word).partition("(")[0]  # "read(2)" is its second pronunciation
        if word and word[0] not in "<[+":  # silence and noises
            yield {
                "word": word,
                "start": round(start_seconds + segment.start_frame / _FRAMES_PER_SECOND, 2),
                "end": round(start_seconds + (segment.end_frame + 1) / _FRAMES_PER_SECOND, 2),
            }


def _resample(speech: Block) -> bytes:
    resampler = av.AudioResampler("s16", "mono", _RECOGNISER_RATE)
    frame = as_frame(np.clip(speech, -1, 1), 0)
    out = [*resampler.resample(frame), *resampler.resample(None)]
    return b"".join(np.ascontiguousarray(piece.to_ndarray()).tobytes() for piece in out)
