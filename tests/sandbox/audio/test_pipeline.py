"""The pipeline: blocks, progress, cleaning up."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffio_async.sandbox.audio import CannotRestore, restore
from diffio_async.sandbox.audio.results import split_utterances
from diffio_async.sandbox.audio.sound import SoundFile, high_pass

RATE = 48_000

MEASURED = """
import sys
from pathlib import Path
from diffio_async.sandbox.audio import restore
source, out, engine = sys.argv[1:]
restore(Path(source), Path(out), report=lambda *_: None, engine=engine)
status = Path("/proc/self/status").read_text()  # ru_maxrss would begin with the parent's
print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.slow
def test_progress_goes_through_the_stages_and_never_back(tmp_path: Path, recordings: Any) -> None:
    source = recordings.write_media(tmp_path / "a.mp4", recordings.clip, video="mpeg4")
    result: list[tuple[str, float]] = []
    restore(source, tmp_path / "out", report=lambda *update: result.append(update))
    stages = list(dict.fromkeys(stage for stage, _ in result))
    assert stages == ["preProcessing", "inference", "restoredVideo"]
    for stage in stages:
        percents = [percent for name, percent in result if name == stage]
        assert percents == sorted(percents)
        assert percents[0] == 0
        assert percents[-1] == 100


@pytest.mark.slow
def test_a_run_cleans_up_and_can_be_repeated(tmp_path: Path, recordings: Any) -> None:
    source = recordings.write_wav(tmp_path / "a.wav", recordings.clip)
    out = tmp_path / "out"
    (out / ".working").mkdir(parents=True)
    (out / ".working" / "left by a killed run").touch()
    first = restore(source, out, report=lambda *_: None)
    content = first.audio.read_bytes()
    assert [path.name for path in out.iterdir()] == ["restored.mp3"]
    assert restore(source, out, report=lambda *_: None) == first
    assert first.audio.read_bytes() == content


@pytest.mark.slow
def test_a_failure_does_not_change_an_earlier_result(tmp_path: Path, recordings: Any) -> None:
    good = recordings.write_wav(tmp_path / "a.wav", recordings.clip)
    silent = recordings.write_wav(tmp_path / "b.wav", np.zeros(RATE))
    out = tmp_path / "out"
    content = restore(good, out, report=lambda *_: None).audio.read_bytes()
    with pytest.raises(CannotRestore):
        restore(silent, out, report=lambda *_: None)
    assert [path.name for path in out.iterdir()] == ["restored.mp3"]
    assert (out / "restored.mp3").read_bytes() == content


def test_a_callback_that_raises_stops_the_restoration_and_leaves_no_files(
    tmp_path: Path, recordings: Any
) -> None:
    source = recordings.write_wav(tmp_path / "a.wav", recordings.clip)

    def report(stage: str, percent: float) -> None:
        if stage == "inference":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(source, tmp_path / "out", report=report)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_high_pass_has_no_seams() -> None:
    """In blocks of any size it gives what one transform of the whole gives."""
    chance = np.random.default_rng(5)
    sound = chance.standard_normal((3 * RATE + 123, 2)).astype(np.float32)
    cuts = np.sort(chance.integers(0, len(sound), 9))
    blocks = [block for block in np.split(sound, cuts) if len(block)]
    out = np.concatenate(list(high_pass(blocks, 2)))
    padded = np.pad(sound, ((RATE, RATE), (0, 0)))
    frequency = np.fft.rfftfreq(len(padded), 1 / RATE)[:, None]
    frequency[0] = 1e-6
    whole = np.fft.irfft(np.fft.rfft(padded, axis=0) / (1 + (70 / frequency) ** 4), len(padded), 0)
    assert out.shape == sound.shape
    np.testing.assert_allclose(out, whole[RATE:-RATE], atol=1e-5)


def test_a_scratch_file_can_be_overwritten_while_it_is_read(tmp_path: Path) -> None:
    with SoundFile(tmp_path / "scratch", 1) as sound:
        sound.append(np.arange(2.5 * RATE, dtype=np.float32)[:, None])
        start = 0
        for block in sound.blocks():
            sound.write(start, -block)
            start += len(block)
        assert sound.length == start == 2.5 * RATE
        assert np.array_equal(sound.read(0, start)[:, 0], -np.arange(start, dtype=np.float32))


def test_long_recordings_are_cut_where_they_are_quiet() -> None:
    powers = np.ones(1000)
    powers[[150, 333, 520]] = 0
    cuts = list(split_utterances(powers))
    assert cuts[0] == (0, 150)
    assert cuts[1] == (150, 333)
    assert [end for _, end in cuts[:-1]] == [start for start, _ in cuts[1:]]
    assert cuts[-1][1] == 1000
    assert all(end - start <= 200 for start, end in cuts)


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['av'] = None; import diffio_async.sandbox.audio"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError" in ran.stderr
    assert "pip install -e '.[sandbox]'" in ran.stderr


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="read from Linux's /proc")
@pytest.mark.parametrize("engine", ["rnnoise", "afftdn"])
def test_memory_does_not_grow_with_the_recording(
    tmp_path: Path, recordings: Any, engine: str
) -> None:
    """Eight minutes are 92 MB as floats; a whole-file design would hold them several times."""
    if engine == "rnnoise" and find_spec("pyrnnoise") is None:  # never import the wrapper
        pytest.skip("extra not installed")
    peaks = []
    for times in (1, 48):
        source = tmp_path / f"{times}.wav"
        recordings.write_wav(source, np.tile(recordings.noisy, times))
        arguments = [sys.executable, "-c", MEASURED, str(source), str(tmp_path / "out"), engine]
        ran = subprocess.run(arguments, capture_output=True, text=True, check=True)
        peaks.append(int(ran.stdout))
    assert peaks[1] - peaks[0] < 30, peaks
