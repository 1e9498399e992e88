"""Batches: what goes in beside paths, and what is said of each file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from diffio_async.models._plain import Plain
from diffio_async.models.generations import DownloadType

#: Files that are uploaded or generated at once, where nobody says otherwise.
DEFAULT_IN_FLIGHT = 250
#: How a file of a batch ended: `skipped` where its results were there and were to be kept.
FileState = Literal["done", "failed", "skipped"]


@frozen(kw_only=True)
class BatchItem(Plain):
    """One recording of a batch with settings of its own; what is None is the batch's.

    Attributes:
        source: The file.
        to: The result's name below the batch's folder, without its ending.
        model: The model.
        sampling: The model's settings.
        params: Your own words about the generation.
    """

    source: str | os.PathLike[str]
    to: str | None = None
    model: str | None = None
    sampling: Mapping[str, object] | None = field(default=None, hash=False)
    params: Mapping[str, object] | None = field(default=None, hash=False)


#: Why a name found while listing is not restored; `LeftOut` explains each.
LeftOutReason = Literal["result", "hidden", "ending", "link", "folder", "duplicate", "irregular"]


@frozen(kw_only=True)
class LeftOut(Plain):
    """A name that the listing of a batch found and did not take for a recording to restore.

    Attributes:
        path: The file or folder, absolute.
        reason: `result` (of this or another batch), `hidden`, `ending` (no recording's), `link` (to
            a folder), `folder` (the results', or below with `recursive=False`), `duplicate` (named
            before), or `irregular` (a device, a pipe).
    """

    path: Path
    reason: LeftOutReason


@frozen(kw_only=True)
class FileOutcome(Plain):
    """What became of one file of a batch.

    Attributes:
        source: The recording.
        state: `done`, `failed` or `skipped`.
        paths: The results that are there, by their type.
        api_project_id: Its project, where one is known.
        generation_id: Its generation, where one was started.
        idempotency_key: The key it was asked for with.
        error: Why it failed, in words.
        error_type: The name of the error's class: "GenerationFailed".
        retry_is_billed: True where only a new generation can help, which is billed anew: the next
            run leaves the file alone, `retry_failed` starts it. What else failed is tried again.
        attempts: How often it was taken up.
        size_bytes: The recording's size.
        received_bytes: Bytes of results.
        seconds: From its being taken up to its end, over all runs.
        source_changed: The recording changed since it was listed; the results are of the new one.
        from_earlier_run: It had ended before this run began.
    """

    source: Path
    state: FileState
    paths: Mapping[DownloadType, Path] = field(factory=dict, hash=False)
    api_project_id: str | None = None
    generation_id: str | None = None
    idempotency_key: str | None = None
    error: str | None = None
    error_type: str | None = None
    retry_is_billed: bool = False
    attempts: int = 0
    size_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    source_changed: bool = False
    from_earlier_run: bool = False


@frozen(kw_only=True)
class BatchProgress(Plain):
    """How far a batch is: numbers of files and bytes.

    Attributes:
        files: All of the journal.
        done: Ended well (`skipped` included), in this run and before.
        failed: Ended without a result.
        left_out: Names that the listing found and did not take for recordings to restore.
        uploading: Being read and sent now, by this run.
        generating: Generations waited for now.
        downloading: Results being fetched now.
        sent_bytes: Bytes sent in this run.
        received_bytes: Bytes received in this run.
        seconds: Since this run began.
        files_per_minute: How many ended in this run.
        eta_seconds: Until the end at that pace, None where nothing tells.
        pause_reason: Why nothing new is begun at the moment, None where nothing stands in the way.
    """

    files: int
    done: int
    failed: int
    left_out: int = 0
    uploading: int = 0
    generating: int = 0
    downloading: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    files_per_minute: float = 0.0
    eta_seconds: float | None = None
    pause_reason: str | None = None
