"""The published SDKs restore through the sandbox, each with its upload mode."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import av
import pytest

from diffio_async.sandbox import Sandbox

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "samples" / "noisy-speech.wav"
SAMPLE_SECONDS = 10.515

EDGE, SIGNED = "0.3.10", "0.1.57"
MODELS = {EDGE: "diffio-4.6-flash", SIGNED: "diffio-3.5"}
versions = pytest.mark.parametrize("version", [EDGE, SIGNED])

PythonWith = Callable[[str], Path]


async def run(
    sandbox: Sandbox, python: Path, flow: str, model: str, source: Path, folder: Path
) -> dict[str, Any]:
    """Run a flow of published.py in another environment, and return its output."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        **sandbox.environment,
    }
    command = [str(python), "-W", "error", str(HERE / "published.py"), flow, model]
    ran = await anyio.run_process(
        [*command, str(source), str(folder)], env=environment, stderr=sys.stderr
    )
    message: dict[str, Any] = json.loads(ran.stdout)
    return message


def seconds_of(path: Path) -> float:
    """Return the duration of an MP3 in seconds."""
    with av.open(str(path)) as container:
        assert container.format.name == "mp3"
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@versions
async def test_restore_audio_in_one_call(
    python_with: PythonWith, tmp_path: Path, version: str
) -> None:
    async with Sandbox(legacy_models=True) as sandbox:
        message = await run(
            sandbox, python_with(version), "one_call", MODELS[version], SAMPLE, tmp_path
        )
        origins = {seen.origin for seen in sandbox.requests}
        violations = list(sandbox.violations)
    assert message["version"] == version
    assert message["ok"] is True
    assert message["error"] is None
    assert (message["status"], message["mimeType"]) == ("complete", "audio/mpeg")
    assert seconds_of(tmp_path / "restored.mp3") == pytest.approx(SAMPLE_SECONDS, abs=0.1)
    assert origins == ({"api", "edge", "media"} if version == EDGE else {"api", "media"})
    assert violations == []


@versions
async def test_the_guide_step_by_step(
    python_with: PythonWith, tmp_path: Path, version: str
) -> None:
    async with Sandbox(legacy_models=True) as sandbox:
        message = await run(
            sandbox, python_with(version), "step_by_step", MODELS[version], SAMPLE, tmp_path
        )
        violations = list(sandbox.violations)
    names = message["names"]
    assert message["status"] == "complete"
    assert message["inference"] == 100
    assert set(message["statuses"]) <= {"queued", "processing", "complete"}
    assert message["modelKey"] == MODELS[version]
    assert message["projects"] == [[names["apiProjectId"], "uploaded", SAMPLE.name]]
    assert message["generations"] == [[names["generationId"], "complete", 100]]
    assert message["key"] in message["keys"]
    assert message["rotated"] is True
    assert message["revoked"] == "revoked"
    assert message["billingPolicy"]
    assert seconds_of(tmp_path / "restored.mp3") == pytest.approx(SAMPLE_SECONDS, abs=0.1)
    assert violations == []


async def test_the_transcript_with_edge_uploads(python_with: PythonWith, tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx", reason="extra not installed")
    async with Sandbox(legacy_models=True) as sandbox:
        message = await run(
            sandbox, python_with(EDGE), "transcript", MODELS[EDGE], SAMPLE, tmp_path
        )
        violations = list(sandbox.violations)
    assert message["status"] == "complete"
    words = json.loads((tmp_path / "transcript.json").read_text())["words"]
    assert "river" in [word["word"] for word in words]
    assert violations == []


@versions
async def test_a_recording_that_cannot_be_restored_fails_with_its_reason(
    python_with: PythonWith, tmp_path: Path, version: str
) -> None:
    source = tmp_path / "minutes.wav"
    source.write_text("Dear all, these are the minutes of the meeting.\n" * 100)
    async with Sandbox(legacy_models=True) as sandbox:
        message = await run(
            sandbox, python_with(version), "one_call", MODELS[version], source, tmp_path
        )
    assert message["ok"] is False
    assert message["status"] == "failed"
    assert "not a recording" in message["error"]


@versions
async def test_an_sdk_works_with_the_upload_mode_it_was_written_for(
    python_with: PythonWith, tmp_path: Path, version: str
) -> None:
    """A sandbox with one upload mode serves the SDK that knows that mode."""
    era: Any = {EDGE: "edge", SIGNED: "signed"}[version]
    async with Sandbox(
        uploads=(era,), part_size=100_000, engine="echo", legacy_models=True
    ) as sandbox:
        message = await run(
            sandbox, python_with(version), "one_call", MODELS[version], SAMPLE, tmp_path
        )
        parts = [seen for seen in sandbox.requests if "/parts/" in seen.path]
    assert message["ok"] is True
    assert len(parts) == (4 if version == EDGE else 0)
    assert (tmp_path / "restored.mp3").read_bytes() == SAMPLE.read_bytes()
