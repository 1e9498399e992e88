"""Every option and argument that expects a local path refuses a URL with 2, and creates nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

BUCKET = "s3://bucket/out"


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch", "talk.wav", "-o", "out", "--journal", BUCKET, "--sandbox"],
        ["batch", "status", BUCKET],
        ["batch", "report", BUCKET],
        ["batch", "retry", BUCKET],
        ["webhooks", "inbox", "list", "--inbox", BUCKET],
        ["webhooks", "inbox", "retry", "--inbox", BUCKET],
        ["webhooks", "listen", "--inbox", BUCKET],
        ["webhooks", "verify", "--payload", BUCKET, "--headers", "webhook-id: 1"],
        ["webhooks", "verify", "--payload", "talk.wav", "--headers", BUCKET],
        ["sandbox", "--data", BUCKET],
        ["sandbox", "--faults", BUCKET],
        ["sandbox", "--env-file", BUCKET],
    ],
    ids=" ".join,
)
async def test_a_url_is_refused(
    run: Run, tmp_path: Path, sample: Path, arguments: list[str]
) -> None:
    (tmp_path / "talk.wav").write_bytes(sample.read_bytes())
    done = await run(
        *arguments,
        env={"DIFFIO_API_KEY": "k", "DIFFIO_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NQ=="},
    )
    assert done.returncode == 2, done.stderr
    assert "is a URL (s3://bucket/out), and only local paths" in done.stderr
    assert not (tmp_path / "s3:").exists()


async def test_a_url_in_place_of_headers_is_named_before_a_missing_secret(run: Run) -> None:
    """What was typed is wrong by itself, whatever the environment lacks."""
    arguments = ["webhooks", "verify", "--payload", "body", "--headers", "https://example.com/h"]
    done = await run(*arguments)
    assert done.returncode == 2
    assert "--headers is a URL (https://example.com/h)" in done.stderr
