"""Results of a restoration: the MP3, the streams of its video, and the transcript."""

import json
import shutil
from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from numpy.typing import NDArray

from diffio_async.sandbox.audio.choices import choose_track
from diffio_async.sandbox.audio.clock import packets
from diffio_async.sandbox.audio.decoding import (
    CannotRestore,
    Limits,
    is_decodable,
    is_disk_full,
    open_media,
)
from diffio_async.sandbox.audio.sound import (
    FRAME_SAMPLES,
    RATE,
    Block,
    Meter,
    SoundFile,
    as_frame,
    layout_name,
)
from diffio_async.sandbox.audio.timeline import Decoder

_BITS_PER_CHANNEL = 192_000
_MAX_BITS = 320_000


def add_audio_stream(container: OutputContainer, codec: str, channels: int) -> AudioStream:
    """Add an audio stream to an output file: 48 kHz, 192 kbit/s for one channel, 320 for two."""
    audio_stream = container.add_stream(codec, rate=RATE)
    if not isinstance(audio_stream, AudioStream):
        raise TypeError(f"{codec} is not an audio codec")
    audio_stream.layout = layout_name(channels)
    audio_stream.bit_rate = min(_BITS_PER_CHANNEL * channels, _MAX_BITS)
    audio_stream.time_base = Fraction(1, RATE)
    return audio_stream


_TAGS = frozenset(
    """title artist album album_artist composer performer publisher genre date track disc comment
    copyright""".split()  # noqa: SIM905
)
_MAX_ARTWORK = 16 * 1024 * 1024  # bytes


def write_mp3(blocks: Iterable[Block], channels: int, source: Path, target: Path) -> None:
    """Write sound as an MP3, with the tags of the source, and its artwork if MP3 takes it.

    Its header contains the encoder's delay and padding, so that decoding returns the exact length.
    """
    with open_media(source) as original:
        try:
            _write_mp3(blocks, channels, original, target, artwork=_find_artwork(original))
        except _ArtworkRefused:
            _write_mp3(blocks, channels, original, target, artwork=None)


class _ArtworkRefused(Exception):
    """MP3 does not take a picture; no sound is written yet."""


def _write_mp3(
    blocks: Iterable[Block],
    channels: int,
    original: InputContainer,
    target: Path,
    artwork: "av.Packet[Any] | None",
) -> None:
    with av.open(str(target), "w", format="mp3", options={"id3v2_version": "3"}) as container:
        container.metadata.update(_tags(original))
        audio_stream = add_audio_stream(container, "libmp3lame", channels)
        if artwork is not None:
            try:
                picture = container.add_stream_from_template(artwork.stream, opaque=True)
                picture.disposition = Disposition.attached_pic.value
                artwork.stream = picture
                container.mux_one(artwork)
            except (av.error.FFmpegError, ValueError) as error:
                if is_disk_full(error):
                    raise
                raise _ArtworkRefused from error
        start = 0
        for block in blocks:
            container.mux(audio_stream.encode(as_frame(block, start)))
            start += len(block)
        container.mux(audio_stream.encode(None))


def _tags(original: InputContainer) -> dict[str, str]:
    """Return the tags to keep; Ogg has them in its stream."""
    given: dict[str, str] = {}
    for metadata in (
        *(stream.metadata for stream in original.streams.audio[:1]),
        original.metadata,
    ):
        given |= {name.lower(): value for name, value in metadata.items()}
    if "creation_time" in given:
        given.setdefault("date", given["creation_time"][:10])
    return {name: value for name, value in given.items() if name in _TAGS}


def _find_artwork(original: InputContainer) -> "av.Packet[Any] | None":
    """Return the picture of the front cover, or None."""
    for stream in original.streams.video:
        if not stream.disposition & Disposition.attached_pic or not is_decodable(stream):
            continue
        packet = next((p for p in packets(original, stream) if p.size), None)
        if packet is not None and packet.size <= _MAX_ARTWORK:
            return packet
    return None


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
