"""Every Python block of the published README runs with its import line changed."""

from __future__ import annotations

import base64
import os
import re
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import anyio
import pytest

from diffio_async import AsyncDiffio
from diffio_async.sandbox import Sandbox
from tests.conftest import SAMPLE


def blocks() -> list[str]:
    """The README as it was published with the package."""
    text = distribution("diffio").read_text("METADATA") or ""
    return re.findall(r"```py(?:thon)?\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("uploads", [("edge",), ("signed",)])
async def test_every_block_of_the_readme_runs(tmp_path: Path, uploads: Any) -> None:
    """In order, in one program; placeholders of ids and keys are replaced by real ones."""
    assert len(blocks()) == 12
    (tmp_path / "sample.wav").write_bytes(SAMPLE.read_bytes())
    async with Sandbox(engine="echo", uploads=uploads, legacy_models=True) as sandbox:
        async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
            done = await client.restore(SAMPLE)
            # The README takes for granted that the key has an endpoint.
            await client.webhooks.configure(
                mode="live", url="https://example.com/hook", event_types=["generation.completed"]
            )
        program = "\n".join(blocks())
        program = program.replace("from diffio import", "from diffio_async.compat import")
        for placeholder, real in (
            ("diffio_live_...", sandbox.api_key),
            ("gen_123", done.generation.generation_id),
            ("proj_123", done.project.api_project_id),
        ):
            assert placeholder in program
            program = program.replace(placeholder, real)
        (tmp_path / "readme.py").write_text(program)
        environment = {
            **os.environ,
            **sandbox.environment,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "DIFFIO_WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"read me!" * 3).decode(),
        }
        ran = await anyio.run_process(
            [sys.executable, "readme.py"], cwd=tmp_path, env=environment, check=False
        )
        assert sandbox.violations == []
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stderr == b""
    assert (tmp_path / "restored.mp3").read_bytes() == SAMPLE.read_bytes()
    assert (tmp_path / "word_timestamps.json").exists()
