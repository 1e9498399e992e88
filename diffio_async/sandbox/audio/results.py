"""Results of a restoration: MP3, video with the original pictures, and transcript."""

import json
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from attrs import frozen
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from diffio_async.sandbox.audio.decoding import (
    CannotRestore,
    find_audio,
    find_video,
    is_decodable,
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

_BITS_PER_CHANNEL = 96_000


def add_audio_stream(container: OutputContainer, codec: str, channels: int) -> AudioStream:
    """Add an audio stream to an output file: 48 kHz, 96 kbit/s per channel."""
    audio_stream = container.add_stream(codec, rate=RATE)
    if not isinstance(audio_stream, AudioStream):
        raise TypeError(f"{codec} is not an audio codec")
    audio_stream.layout = layout_name(channels)
    audio_stream.bit_rate = _BITS_PER_CHANNEL * channels
    audio_stream.time_base = Fraction(1, RATE)
    return audio_stream


def write_mp3(blocks: Iterable[Block], channels: int, target: Path) -> None:
    """Write sound as an MP3.

    Its header contains the encoder's delay and padding, so that decoding returns the exact length.
    """
    with av.open(str(target), "w", format="mp3") as container:
        audio_stream = add_audio_stream(container, "libmp3lame", channels)
        start = 0
        for block in blocks:
            container.mux(audio_stream.encode(as_frame(block, start)))
            start += len(block)
        container.mux(audio_stream.encode(None))


_WEBM_CODECS = frozenset({"vp8", "vp9", "av1"})


@frozen
class VideoFormat:
    """A video file format: its FFmpeg name, its file suffix, and its audio codec."""

    format: str
    suffix: str
    sound: str


MP4 = VideoFormat("mp4", ".mp4", "aac")
WEBM = VideoFormat("webm", ".webm", "libopus")
MATROSKA = VideoFormat("matroska", ".mkv", "aac")


def containers_for(container: InputContainer, video: VideoStream) -> list[VideoFormat]:
    """Return the formats to try, best first: that of the input if it accepts the video codec."""
    formats, codec = container.format.name, video.codec_context.name
    if "webm" in formats and codec in _WEBM_CODECS:
        return [WEBM, MATROSKA]
    # MP4 does not allow VP8, and few players read VP9 from it.
    if codec in {"vp8", "vp9"} or "matroska" in formats:
        return [MATROSKA]
    return [MP4, MATROSKA]


def write_video(
    source: Path,
    sound: Callable[[], Iterable[Block]],
    channels: int,
    folder: Path,
    on_progress: Callable[[float], None],
) -> Path:
    """Write the video of the source, unchanged, with other sound.

    Args:
        source: A recording with video.
        sound: Returns the blocks of the sound, from the start at each call.
        channels: One or two.
        folder: Where `restored` with a suffix for the format is written.
        on_progress: Called with the fraction that is done, from 0 to 1.

    Raises:
        CannotRestore: No format accepts this video stream.
    """
    with open_media(source) as container:
        video = find_video(container)
        if video is None:
            raise CannotRestore("there is no video in this file")
        if not is_decodable(video):
            raise CannotRestore("the video in this file is in a format that is not supported")
        formats = containers_for(container, video)
    for file_format in formats:
        target = folder / f"restored{file_format.suffix}"
        try:
            _write(source, sound(), channels, file_format, target, on_progress)
        except (av.error.FFmpegError, ValueError):
            target.unlink(missing_ok=True)
        else:
            return target
    raise CannotRestore("the video in this file cannot be written with the restored sound")


def _write(
    source: Path,
    blocks: Iterable[Block],
    channels: int,
    file_format: VideoFormat,
    target: Path,
    on_progress: Callable[[float], None],
) -> None:
    with open_media(source) as media, av.open(str(target), "w", format=file_format.format) as out:
        video, audio = find_video(media), find_audio(media)
        if video is None or video.time_base is None or audio.time_base is None:
            raise CannotRestore("the video in this file has no timestamps")
        video_stream = out.add_stream_from_template(video)
        video_stream.metadata.update(video.metadata)
        audio_stream = add_audio_stream(out, file_format.sound, channels)
        # Sound and video may start at different times.
        first_sample = round((audio.start_time or 0) * audio.time_base * RATE)
        audio_muxer = _AudioMuxer(
            blocks,
            first_sample,
            lambda block, at: out.mux(audio_stream.encode(as_frame(block, at))),
        )
        for packet in _with_decoding_times(media.demux(video)):
            seconds = float((packet.dts or 0) * video.time_base)
            audio_muxer.mux_until(seconds)
            packet.stream = video_stream
            out.mux_one(packet)
            if media.duration:
                on_progress(min(1.0, seconds * 1e6 / media.duration))
        audio_muxer.mux_until(None)
        out.mux(audio_stream.encode(None))


def _with_decoding_times(
    packets: "Iterator[av.Packet[VideoStream]]",
) -> "Iterator[av.Packet[VideoStream]]":
    """Yield the video packets, each with a decoding time.

    Where frames are stored out of order, some containers omit the first decoding times.
    """
    pending: list[av.Packet[VideoStream]] = []
    for packet in packets:
        if packet.size == 0:  # the end-of-stream packet
            continue
        if packet.dts is None:
            pending.append(packet)
            continue
        for steps, packet_without_dts in enumerate(reversed(pending), start=1):
            packet_without_dts.dts = packet.dts - steps * (packet.duration or 1)
        yield from pending
        pending.clear()
        yield packet
    yield from (packet for packet in pending if packet.pts is not None)


class _AudioMuxer:
    """Interleaves the sound with the video, so that neither is buffered in memory."""

    def __init__(
        self, blocks: Iterable[Block], first_sample: int, mux: Callable[[Block, int], None]
    ) -> None:
        self._blocks: Iterator[Block] = iter(blocks)
        self._position = first_sample
        self._mux = mux

    def mux_until(self, seconds: float | None) -> None:
        """Encode the sound up to a time in seconds, or all of it if None."""
        while seconds is None or self._position / RATE <= seconds:
            block = next(self._blocks, None)
            if block is None:
                return
            self._mux(block, self._position)
            self._position += len(block)


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
        "engine": RECOGNISER,
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
