"""Transcripts: words with their times, by pocketsphinx if it is installed."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from diffio_async.sandbox.audio.filtering import as_frame
from diffio_async.sandbox.audio.loudness import FRAME_SAMPLES, Meter
from diffio_async.sandbox.audio.sound import RATE, Block, SoundFile

ENGINE = "pocketsphinx"
LANGUAGE = "en-US"

_RECOGNISER_RATE = 16_000
_FRAMES_PER_SECOND = 100  # of the recogniser, not of the meter
_MIN_FRAMES, _MAX_FRAMES = 80, 200  # an utterance, in frames of the meter: 8 to 20 s
_MIN_RELATIVE_POWER = 10**-2.5  # of the loudest frame: quieter utterances contain no speech
_BEAM_WIDTH = 4_000  # active states: half the CPU time of 30,000 at the same accuracy


def available() -> bool:
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


def write_transcript(
    sound: SoundFile, meter: Meter, gain: float, target: Path, on_progress: Callable[[float], None]
) -> None:
    """Write the transcript as JSON: text, words with start and end in seconds, language, engine.

    Args:
        sound: The denoised recording.
        meter: The measurement of that recording.
        gain: The factor that brings it to its final loudness.
        target: The file to write.
        on_progress: Called with the fraction that is done, from 0 to 1.
    """
    words: list[dict[str, Any]] = []
    powers = meter.powers
    recogniser: Any = None
    for first, last in split_utterances(powers):
        if powers[first:last].max() > powers.max() * _MIN_RELATIVE_POWER:
            recogniser = recogniser or _recogniser()
            speech = sound.read(first * FRAME_SAMPLES, (last - first) * FRAME_SAMPLES) * np.float32(
                gain
            )
            words += _words(recogniser, speech, first * FRAME_SAMPLES / RATE)
        on_progress(last / len(powers))
    transcript = {
        "text": " ".join(word["word"] for word in words),
        "words": words,
        "language": LANGUAGE,
        "engine": ENGINE,
    }
    target.write_text(json.dumps(transcript, indent=1) + "\n", encoding="utf-8")


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
