"""The vendor's guide runs with its import lines changed, and nothing else."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import anyio
import av
import pytest

from diffio_async.sandbox import Sandbox
from tests.conftest import SAMPLE

HERE = Path(__file__).parent / "guide"
BLOCKS = re.findall(r"```python\n(.*?)```", (HERE / "guide.md").read_text(), re.DOTALL)
AFTERWARDS = (HERE / "afterwards.py").read_text()
SECRET = "whsec_" + base64.b64encode(b"guide" * 5).decode()
SAMPLE_SECONDS = 10.515


def guide(model: str) -> str:
    """The program of the guide in one file, for one model."""
    whole = "\n".join(BLOCKS).replace("from diffio import", "from diffio_async.compat import")
    return whole.replace("diffio-3.5", model) + AFTERWARDS


async def followed(sandbox: Sandbox, folder: Path, model: str) -> dict[str, Any]:
    """Run the guide in a folder with the files that it needs; return the result."""
    (folder / "sample.wav").write_bytes(SAMPLE.read_bytes())
    (folder / ".env").write_text(f"DIFFIO_API_KEY={sandbox.api_key}\n")
    (folder / "full_guide.py").write_text(guide(model))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "DIFFIO_WEBHOOK_SECRET": SECRET,
        "DIFFIO_API_BASE_URL": sandbox.base_url,
        "DIFFIO_API_KEY_ID": "key_sandbox",
        "DIFFIO_WEBHOOK_KEY": sandbox.api_key,
    }
    ran = await anyio.run_process(
        [sys.executable, "full_guide.py"], cwd=folder, env=environment, check=False
    )
    errors = ran.stderr.decode()
    assert ran.returncode == 0, errors
    # Standard error has the progress and no warning.
    assert all(re.fullmatch(r"gen_\w+: \w+.* %", line) for line in errors.splitlines()), errors
    last = ran.stdout.decode().splitlines()[-1]
    result: dict[str, Any] = json.loads(last.removeprefix("RESULT "))
    return result


def check(result: dict[str, Any], model: str) -> None:
    """The guide came to what it promises."""
    assert (result["status"], result["stage"], result["model"]) == ("complete", "complete", model)
    assert (result["genuine"], result["forged"]) == (200, 400)
    assert "generations:write" in result["scopes"]


def test_the_blocks_are_all_there() -> None:
    """All fifteen Python blocks of the guide are run, and each import of `diffio` is changed."""
    assert len(BLOCKS) == 15
    assert len(re.findall(r"from diffio import", "".join(BLOCKS))) == 5
    assert "from diffio import" not in guide("diffio-3.5")


@pytest.mark.parametrize("uploads", [("signed",), ("edge",)])
@pytest.mark.parametrize("model", ["diffio-3.5", "diffio-4.6-flash"])
@pytest.mark.slow
async def test_the_guide_runs_on_both_upload_eras_and_both_models(
    tmp_path: Path, uploads: Any, model: str
) -> None:
    async with Sandbox(engine="echo", uploads=uploads, legacy_models=True) as sandbox:
        result = await followed(sandbox, tmp_path, model)
        paths = [seen.path for seen in sandbox.requests]
        origins = {seen.origin for seen in sandbox.requests}
        assert sandbox.violations == []
    check(result, model)
    assert f"/v1/{model}-generation" in paths
    assert ("edge" in origins) is (uploads == ("edge",))
    assert (tmp_path / "restored.mp3").read_bytes() == SAMPLE.read_bytes()
    assert (tmp_path / "restored-one-call.mp3").read_bytes() == SAMPLE.read_bytes()


@pytest.mark.slow
async def test_the_guide_replaces_yesterdays_files_and_really_restores(
    tmp_path: Path,
) -> None:
    """The sandbox restores for real, and a result that is there already is replaced."""
    pytest.importorskip("pocketsphinx", reason="extra not installed")
    async with Sandbox() as sandbox:
        (tmp_path / "restored.mp3").write_text("yesterday's")
        result = await followed(sandbox, tmp_path, "diffio-4.6-flash")
        assert sandbox.violations == []
    check(result, "diffio-4.6-flash")
    for name in ("restored.mp3", "restored-one-call.mp3"):
        with av.open(str(tmp_path / name)) as sound:
            seconds = sum(frame.samples / frame.sample_rate for frame in sound.decode(audio=0))
        assert seconds == pytest.approx(SAMPLE_SECONDS, abs=0.1)
    words = json.loads((tmp_path / "transcript.json").read_text())["words"]
    assert "river" in [word["word"] for word in words]
