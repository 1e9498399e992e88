"""The description of a stage beside a bar."""

import pytest

from diffio_async import DownloadProgress, UploadProgress
from diffio_async.cli.reporting import Progress, describe_stage


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (UploadProgress(1_234_567, 90_000_000), "uploading 1.2 of 90.0 MB"),
        (UploadProgress(0, 10**7, rate=4.54e6), "uploading 0.0 of 10.0 MB, 4.5 MB/s"),
        (DownloadProgress(25_000_000, None, rate=1e7), "downloading 25.0 MB, 10.0 MB/s"),
        (DownloadProgress(25_000_000, 50_000_000), "downloading 25.0 of 50.0 MB"),
    ],
)
def test_a_transfer_shows_bytes_total_and_rate(progress: Progress, text: str) -> None:
    assert describe_stage(progress) == text
