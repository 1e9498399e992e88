"""Numbers of a recording: known levels, and what must not disturb them."""

from __future__ import annotations

import pkgutil
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from diffio_async import report
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.report import Numbers, gain, measure
from diffio_async.report.analysis import SoundReader, measure_sound
from diffio_async.sandbox.audio.sound import Filters, Meter
from tests.report.conftest import CLEAN, NOISY, RATE, noise, phrases, tone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.report.conftest import Sound, WriteWav


@pytest.mark.slow
def test_a_sine_has_the_loudness_and_peak_of_the_standard(write_wav: WriteWav) -> None:
    """EBU Tech 3341: a stereo sine of 1 kHz with its peaks at -23 dBFS measures -23 LUFS."""
    sine = tone(997, -23, 10)
    stereo = measure(write_wav("stereo.wav", np.stack([sine, sine])))
    assert stereo.lufs == pytest.approx(-23.0, abs=0.1)
    assert stereo.true_peak == pytest.approx(-23.0, abs=0.2)
    # In one channel only: the sum of the channels is 3 dB lower.
    left = measure(write_wav("left.wav", np.stack([sine, np.zeros_like(sine)])))
    assert left.lufs == pytest.approx(-26.0, abs=0.1)


@pytest.mark.slow
def test_mono_is_as_loud_as_the_same_sound_in_two_channels(write_wav: WriteWav) -> None:
    """A browser plays mono on both speakers."""
    sine = tone(997, -20, 4)
    mono = measure(write_wav("mono.wav", sine))
    stereo = measure(write_wav("stereo.wav", np.stack([sine, sine])))
    assert mono.lufs == pytest.approx(stereo.lufs, abs=0.05)


def test_a_peak_between_samples_is_found(write_wav: WriteWav) -> None:
    """True peak: a sine at a quarter of the rate, sampled 45° beside its peaks, reads +3 dB."""
    times = np.arange(2 * RATE)
    sound = 0.5 * np.sin(np.pi / 2 * times + np.pi / 4) * np.minimum(1, times / RATE)
    assert measure(write_wav("between.wav", sound)).true_peak == pytest.approx(-6.0, abs=0.4)


def test_speech_and_noise_are_separated(write_wav: WriteWav) -> None:
    """The level of phrases and of the noise below them are measured within 1.5 dB."""
    numbers = measure(write_wav("a.wav", phrases(-20, 8) + noise(-50, 8)))
    assert numbers.noise_floor == pytest.approx(-50, abs=1.5)
    assert numbers.speech_level == pytest.approx(-20, abs=1.5)
    assert numbers.speech_to_noise == pytest.approx(30, abs=2)


DISTURBANCES: dict[str, Callable[[Sound], Sound]] = {
    "an offset": lambda sound: sound + 0.2,
    "clicks": lambda sound: np.where(np.arange(len(sound)) % (3 * RATE) < 20, 0.99, sound),
    "digital silence": lambda sound: np.concatenate([np.zeros(5 * RATE), sound, np.zeros(RATE)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", DISTURBANCES)
def test_levels_do_not_depend_on(what: str, write_wav: WriteWav) -> None:
    """Digital silence, a constant offset and clicks change the levels by less than 1 dB."""
    sound = phrases(-20, 20) + noise(-50, 20)
    plain = measure(write_wav("plain.wav", sound))
    disturbed = measure(write_wav("disturbed.wav", DISTURBANCES[what](sound)))
    assert disturbed.noise_floor == pytest.approx(plain.noise_floor, abs=1)
    assert disturbed.speech_level == pytest.approx(plain.speech_level, abs=1)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_clipped_samples_are_counted_at_any_rate(rate: int, write_wav: WriteWav) -> None:
    """The share of clipped samples is right within a fifth, and 0 for a sound that just fits."""
    sound = np.random.default_rng(3).standard_normal(4 * rate)
    smooth = np.convolve(sound, np.hanning(rate // 1000), mode="same")
    smooth /= np.abs(smooth).max()
    assert measure(write_wav("fits.wav", smooth, rate)).clipped == pytest.approx(0, abs=1e-4)
    loud = np.clip(3 * smooth, -1, 1)
    clipped = measure(write_wav("clipped.wav", loud, rate)).clipped
    assert clipped == pytest.approx(float((np.abs(loud) == 1).mean()), rel=0.2)


def test_what_cannot_be_measured_is_absent(write_wav: WriteWav) -> None:
    """Digital silence has no levels, no loudness and no peak; nothing is clipped."""
    silent = measure(write_wav("silent.wav", np.zeros(2 * RATE)))
    assert silent == Numbers(clipped=0.0)
    assert silent.to_dict() == {"clipped": 0.0}
    assert gain(silent, measure(CLEAN)) is None


def test_a_very_short_recording_is_measured(write_wav: WriteWav) -> None:
    """Half a tenth of a second has no loudness, but does not fail."""
    assert measure(write_wav("short.wav", tone(300, -10, 0.05))).lufs is None


@pytest.mark.slow
def test_the_sample_is_restored_by_thirty_decibels() -> None:
    """The clean sample has far less noise at about the same level of speech."""
    before, after = measure(NOISY), measure(CLEAN)
    change = gain(before, after)
    assert change is not None
    assert change > 25
    assert after.speech_level == pytest.approx(before.speech_level, abs=2)


@pytest.mark.parametrize("content", [b"", b"not a recording at all"])
def test_a_file_without_sound_is_refused(content: bytes, tmp_path: Path) -> None:
    """The error has the path and the reason."""
    path = tmp_path / "notes.wav"
    path.write_bytes(content)
    with pytest.raises(InvalidSource, match=r"notes\.wav.*cannot be measured"):
        measure(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """The error is that of a source."""
    with pytest.raises(InvalidSource, match="cannot be measured"):
        measure(tmp_path / "nothing.wav")


def test_one_pass_measures_what_the_meter_of_the_sandbox_does() -> None:
    """The noise floor of a report is that of the sandbox: there is one mechanism."""
    sound, meter = SoundReader(NOISY), Meter()
    measured = measure_sound(sound, meter.watch(sound.blocks()))
    assert measured.numbers.noise_floor == pytest.approx(meter.noise_floor_db)
    assert measured.numbers.speech_to_noise == pytest.approx(meter.speech_to_noise_db)


def test_filters_report_what_they_wrote_last() -> None:
    """The metadata of the last block that has some stays readable after the end."""
    filters = Filters(1, ("ebur128", "metadata=1"))
    sound: Sound = tone(997, -23, 1.05)
    assert list(filters.feed(sound.astype(np.float32)[:, None]))
    list(filters.finish())
    assert float(filters.metadata["lavfi.r128.I"]) == pytest.approx(-26, abs=0.2)


def test_the_function_stays_a_function() -> None:
    """No module of the package has the name of a public function, which importing it replaces."""
    names = {module.name for module in pkgutil.iter_modules(report.__path__)}
    assert "analysis" in names
    assert not names & set(report.__all__)


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyAV, the error has the command that installs it."""
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigurationError, match=r"needs av: .*'diffio-async\[report\]'"):
        measure(NOISY)
