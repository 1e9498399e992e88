"""Words with their times, by pocketsphinx where it is installed."""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from diffio_async.sandbox.audio.filtering import as_frame
from diffio_async.sandbox.audio.metering import FRAME, Meter
from diffio_async.sandbox.audio.sound import RATE, Block, SoundFile

ENGINE = "pocketsphinx"
LANGUAGE = "en-US"

_RECOGNISER_RATE = 16_000
_FRAMES_PER_SECOND = 100  # of the recogniser's own
_SHORTEST, _LONGEST = 80, 200  # an utterance, in frames of the meter: 8 to 20 s
_FAINT = 10**-2.5  # of the loudest: nobody speaks there
_WIDTH = 4_000  # guesses kept at a time: half of the work of 30,000, and the same words


def available() -> bool:
    """Whether the recogniser is installed."""
    return find_spec("pocketsphinx") is not None


def utterances(powers: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    """Where to cut a recording, in frames: at its quietest places, 8 to 20 s apart."""
    start = 0
    while len(powers) - start > _LONGEST:
        window = powers[start + _SHORTEST : start + _LONGEST]
        end = start + _SHORTEST + int(window.argmin())
        yield start, end
        start = end
    if start < len(powers):
        yield start, len(powers)


def write_transcript(
    sound: SoundFile, heard: Meter, gain: float, target: Path, done: Callable[[float], None]
) -> None:
    """Write what is said as JSON: text, words with start and end in seconds, language, engine.

    Args:
        sound: the recording, without its noise.
        heard: what a meter heard of it.
        gain: the factor that brings it to its final loudness.
        target: the file.
        done: told the part that is done, from 0 to 1.
    """
    words: list[dict[str, Any]] = []
    powers = heard.powers
    recogniser: Any = None
    for first, last in utterances(powers):
        if powers[first:last].max() > powers.max() * _FAINT:
            recogniser = recogniser or _recogniser()
            said = sound.read(first * FRAME, (last - first) * FRAME) * np.float32(gain)
            words += _words(recogniser, said, first * FRAME / RATE)
        done(last / len(powers))
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
    return pocketsphinx.Decoder(samprate=float(_RECOGNISER_RATE), maxhmmpf=_WIDTH)


def _words(recogniser: Any, said: Block, begin: float) -> Iterator[dict[str, Any]]:
    recogniser.start_utt()
    recogniser.process_raw(_resampled(said), full_utt=True)
    recogniser.end_utt()
    for segment in recogniser.seg() or ():
        word = str(segment.word).partition("(")[0]  # "read(2)" is its second pronunciation
        if word and word[0] not in "<[+":  # silence and noises
            yield {
                "word": word,
                "start": round(begin + segment.start_frame / _FRAMES_PER_SECOND, 2),
                "end": round(begin + (segment.end_frame + 1) / _FRAMES_PER_SECOND, 2),
            }


def _resampled(said: Block) -> bytes:
    resampler = av.AudioResampler("s16", "mono", _RECOGNISER_RATE)
    frame = as_frame(np.clip(said, -1, 1), 0)
    out = [*resampler.resample(frame), *resampler.resample(None)]
    return b"".join(np.ascontiguousarray(piece.to_ndarray()).tobytes() for piece in out)
