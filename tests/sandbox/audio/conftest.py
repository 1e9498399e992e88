"""Fixtures for the restoration tests: decode files, compare sounds, create recordings."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from attrs import frozen
from numpy.typing import NDArray

from diffio_async.sandbox.audio import Restored, restore
from tests.sounds import write_wav

RATE = 48_000
SAMPLES = Path(__file__).parents[3] / "samples"

Sound = NDArray[np.float64]


def decode_mono(path: Path) -> Sound:
    """Return the decoded sound of a file at 48 kHz, mixed to mono."""
    pieces: list[Sound] = []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("flt", "mono", RATE)
        for frame in container.decode(container.streams.audio[0]):
            frame.pts = None
            pieces += [out.to_ndarray()[0].astype(np.float64) for out in resampler.resample(frame)]
        pieces += [out.to_ndarray()[0].astype(np.float64) for out in resampler.resample(None)]
    return np.concatenate(pieces)


def lag(reference: Sound, sound: Sound) -> int:
    """Return the delay of the sound behind the reference, in samples."""
    size = 1 << (len(reference) + len(sound)).bit_length()
    spectrum = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(reference, size))
    shift = int(np.fft.irfft(spectrum, size).argmax())
    return shift if shift < size // 2 else shift - size


def si_sdr(reference: Sound, sound: Sound) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB of aligned sounds."""
    shift = lag(reference, sound)
    sound = sound[shift:] if shift >= 0 else np.concatenate([np.zeros(-shift), sound])
    length = min(len(reference), len(sound))
    reference, sound = reference[:length], sound[:length]
    wanted = reference * (sound @ reference) / (reference @ reference)
    return float(10 * np.log10((wanted @ wanted) / ((sound - wanted) @ (sound - wanted))))


def write_media(
    path: Path, sound: Sound | None, *, audio: str = "aac", video: str | None = None
) -> Path:
    """Write a recording with the given codecs; its video is two seconds of noise."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream(video, rate=25) if video is not None else None
        audio_stream = container.add_stream(audio, rate=RATE) if sound is not None else None
        if isinstance(picture, av.VideoStream):
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        if isinstance(audio_stream, av.AudioStream):
            audio_stream.layout = "mono"
        if isinstance(picture, av.VideoStream):
            chance = np.random.default_rng(7)
            for number in range(50):
                pixels = chance.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                shown = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                shown.pts, shown.time_base = number, Fraction(1, 25)
                container.mux(picture.encode(shown))
            container.mux(picture.encode(None))
        if isinstance(audio_stream, av.AudioStream) and sound is not None:
            samples = sound.astype(np.float32)[None, :]
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(audio_stream.encode(frame))
            container.mux(audio_stream.encode(None))
    return path


@frozen
class Recordings:
    """The sample, and helpers for recordings."""

    clean: Sound
    noisy: Sound
    decode_mono: Callable[[Path], Sound] = decode_mono
    lag: Callable[[Sound, Sound], int] = lag
    si_sdr: Callable[[Sound, Sound], float] = si_sdr
    write_wav: Callable[..., Path] = write_wav
    write_media: Callable[..., Path] = write_media

    @property
    def clip(self) -> Sound:
        """Two seconds of the noisy sample."""
        return self.noisy[RATE : 3 * RATE]


@pytest.fixture(scope="session")
def recordings() -> Recordings:
    """The sample recordings, decoded."""
    return Recordings(
        decode_mono(SAMPLES / "clean-speech.flac"), decode_mono(SAMPLES / "noisy-speech.wav")
    )


@pytest.fixture
def restored(tmp_path: Path) -> Callable[..., Restored]:
    """Function that restores a file into a separate folder."""

    def run(source: Path, *, engine: str | None = None) -> Restored:
        out = tmp_path / f"{source.name}.{engine}.restored"
        return restore(source, out, report=lambda *_: None, engine=engine)

    return run
