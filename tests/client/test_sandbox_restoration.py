"""Restorations by the sandbox with its default engine."""

from __future__ import annotations

import contextlib
import json
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import AsyncDiffio, GenerationFailed, TranscriptPending
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

#: Restoring real recordings takes seconds.
pytestmark = pytest.mark.slow


async def test_the_sample_is_restored(sample: Path, tmp_path: Path) -> None:
    """The results are an MP3 with less noise, and a transcript."""
    async with (
        Sandbox() as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        result = await client.restore(sample, tmp_path)
        assert result.path == tmp_path / "noisy-speech.restored.mp3"
        restoration: Any = result.progress.extra["restoration"]
        assert restoration["noiseFloorDb"]["after"] < restoration["noiseFloorDb"]["before"] - 10
        if find_spec("pocketsphinx") is None:
            pytest.skip("no transcript: the extra `transcript` is not installed")
        transcript = None
        while transcript is None:
            with contextlib.suppress(TranscriptPending):
                transcript = await client.generations.download(
                    generation_id=result.generation.generation_id,
                    api_project_id=result.project.api_project_id,
                    download_type="transcript",
                )
        assert transcript.content is not None
        assert json.loads(transcript.content)["words"]


async def test_a_text_file_renamed_to_wav_fails_with_the_reason(tmp_path: Path) -> None:
    """The sandbox cannot decode it; the wait ends with the reason."""
    source = tmp_path / "notes.wav"
    source.write_text("These are notes, not sound.\n" * 50, encoding="utf-8")
    async with (
        Sandbox() as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        with pytest.raises(GenerationFailed) as caught:
            await client.restore(source, tmp_path / "notes.mp3")
    assert caught.value.progress is not None
    assert caught.value.progress.error
    assert not (tmp_path / "notes.mp3").exists()
