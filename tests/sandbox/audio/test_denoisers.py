"""Minimum signal-to-distortion ratios after denoising, for voices in noise.

Nothing in the sandbox was tuned on these voices. `benchmarks/denoisers.py` prints the ratios of all
voices, of which each test takes one.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from denoisers import STEADY, VOICES, Signal, cells, load, measured, mixture, si_sdr

from diffio_async.sandbox.audio import Restored
from diffio_async.sandbox.audio.denoising import installed_engines
from diffio_async.sandbox.audio.sound import RATE, Meter

NAMES = tuple(VOICES)
CELLS = tuple(cells())


@cache
def voices() -> dict[str, Signal]:
    return {name: load(path) for name, path in VOICES.items()}


def shown(sound: Signal) -> float | None:
    """Return the speech over noise that is shown for a recording."""
    meter = Meter()
    meter.add(sound.astype(np.float32).reshape(-1, 1))
    return meter.speech_to_noise_db


@pytest.mark.slow
def test_a_noisy_voice_gets_clearer_with_every_engine() -> None:
    clean = {name: voice[: 2 * RATE] for name, voice in voices().items()}
    mixed = mixture(clean, "woman", "white", 5)
    found = measured(clean["woman"], mixed, installed_engines())
    before = si_sdr(clean["woman"], mixed)
    assert all(result.after > before + 5 for result in found.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "level", "name"),
    [(kind, level, NAMES[number % len(NAMES)]) for number, (kind, level) in enumerate(CELLS)],
)
def test_no_engine_makes_a_recording_worse(kind: str, level: int, name: str) -> None:
    """By more than 1 dB, alone or as the choice; steady noise up to 10 dB is reduced by 5 dB.

    DeepFilterNet has no wheels for some platforms; without it, the choice has lower minimums.
    """
    clean, mixed = voices()[name], mixture(voices(), name, kind, level)
    before, found = si_sdr(clean, mixed), measured(clean, mixed, installed_engines())
    assert min(result.after for result in found.values()) > before - 1
    gain = found["choice"].after - before
    if kind in STEADY and 0 <= level <= 10:
        assert gain > (5 if "deepfilter" in found else 2.5)
    if kind == "clicks" and level <= 20:
        assert gain > 4
    if kind == "babble":
        assert gain > (-0.1 if "deepfilter" in found else -0.5)


@pytest.mark.parametrize("kind", STEADY)
def test_the_shown_noise_is_that_of_the_recording(kind: str) -> None:
    """Within 3 dB; digital silence and a constant offset make no difference."""
    for name, level in zip(NAMES, (30, 20, 10, 0), strict=True):
        mixed = mixture(voices(), name, kind, level)
        ratio = shown(mixed)
        # Half of the power of the brown noise is below 10 Hz, which is not sound.
        assert ratio == pytest.approx(level + 1.5 * (kind == "brown"), abs=3)
        with_gap = np.concatenate([mixed, np.zeros(RATE), mixed + 0.1])
        assert shown(with_gap) == pytest.approx(ratio, abs=1.5)


@pytest.mark.slow
def test_clicks_are_part_of_the_shown_noise(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    clicking = mixture(voices(), "flite", "clicks", 5)
    result = restored(recordings.write_wav(tmp_path / "clicks.wav", clicking))
    before, after = result.speech_to_noise_db
    assert result.engine == "adeclick"
    assert before == pytest.approx(5, abs=3)
    assert after is not None
    assert after > 20


def test_a_figure_that_cannot_be_had_is_not_shown() -> None:
    voice = voices()["synthesised"]
    voice = voice * (np.abs(voice) > 0.01)  # digital silence between the words
    assert shown(np.concatenate([np.full(RATE, 0.3), np.zeros(RATE)])) is None
    assert shown(np.concatenate([voice[:RATE], np.zeros(RATE)])) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "codec", "gain"),
    [
        (8_000, "pcm_s16le", 1.0),
        (16_000, "pcm_u8", 1.0),
        (44_100, "pcm_f32le", 0.001),
        (48_000, "pcm_f32le", 20.0),
        (48_000, "pcm_s24le", 0.1),
    ],
)
@pytest.mark.parametrize("engine", installed_engines())
def test_formats_and_levels_make_no_difference(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    engine: str,
    rate: int,
    codec: str,
    gain: float,
) -> None:
    """A voice at 5 dB gains as much in any sample format, at any level, and in two channels."""
    clean = voices()["woman"]
    mixed = mixture(voices(), "woman", "white", 5)
    source = tmp_path / "sound.wav"
    write_stereo(source, np.stack([mixed, mixed[::-1] * 0.1]) * gain, rate, codec)
    result = restored(source, engine=engine)
    with av.open(str(result.audio)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    after = np.concatenate(frames, axis=1)[0].astype(np.float64)
    assert recordings.si_sdr(clean, after) > si_sdr(clean, mixed) + 4


def write_stereo(path: Path, sound: Signal, rate: int, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound, np.float32), format="fltp", layout="stereo"
        )
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.format, "stereo", rate)
        for out in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(out))
        container.mux(stream.encode(None))
