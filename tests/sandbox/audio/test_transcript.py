"""Transcripts: words with their times."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from diffio_async.sandbox.audio import CannotRestore, Restored, transcribe

pytest.importorskip("pocketsphinx", reason="extra not installed")

SAMPLES = Path(__file__).parents[3] / "samples"
TEXT = """
we met by the river in the morning the old bridge was closed and nobody knew why
i called the office three times before somebody answered the phone
"""
WORDS = TEXT.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("clean-speech.flac", 0.85), ("noisy-speech.wav", 0.6)]
)
def test_the_words_of_the_sample_are_recognised_with_their_times(
    restored: Callable[..., Restored], name: str, least: float
) -> None:
    result = restored(SAMPLES / name)
    path = transcribe(result.audio, result.audio.parent)
    transcript = json.loads(path.read_text())
    assert [each.name for each in sorted(path.parent.iterdir())] == [
        "restored.mp3",
        "transcript.json",
    ]
    assert transcript["engine"] == "pocketsphinx"
    assert transcript["language"] == "en-US"
    words = [word["word"] for word in transcript["words"]]
    assert transcript["text"] == " ".join(words)
    assert len(set(words) & set(WORDS)) >= least * len(set(WORDS))
    ends = 0.0
    for word in transcript["words"]:
        assert ends <= word["start"] < word["end"] <= result.seconds
        ends = word["end"]
    river = next(word for word in transcript["words"] if word["word"] == "river")
    assert river["start"] == pytest.approx(1.6, abs=0.25)


def test_damaged_sound_has_no_transcript(tmp_path: Path) -> None:
    audio = tmp_path / "restored.mp3"
    audio.write_bytes(b"not sound")
    with pytest.raises(CannotRestore):
        transcribe(audio, tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["restored.mp3"]
