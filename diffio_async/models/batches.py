"""Batches: items to restore, outcomes of files, and progress."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from diffio_async._store_url import StoreUrl
from diffio_async.models.generations import DownloadType
from diffio_async.models.json_values import Plain, notebook_html

#: Default number of files that are uploaded or generated at once.
DEFAULT_IN_FLIGHT = 250
#: Default name of a result.
DEFAULT_NAME = "{stem}.restored{ext}"
#: How a file of a batch ended. `skipped`: its results exist already, and are kept.
FileState = Literal["done", "failed", "skipped"]
#: Why a name is not restored; see `LeftOut`.
LeftOutReason = Literal["result", "hidden", "ending", "link", "folder", "duplicate", "irregular"]


@frozen(kw_only=True)
class BatchItem(Plain):
    """One recording of a batch with its own settings. A setting that is None is the batch's.

    Attributes:
        source: The file, or the URL of an object as text.
        to: Name of the result below the folder of the batch, without its suffix.
        model: Model id.
        sampling: Settings of the model (`seed`, `preset`, …).
        params: Metadata of the generation (`prompt`, `tag`, …).
    """

    source: str | os.PathLike[str]
    to: str | None = None
    model: str | None = None
    sampling: Mapping[str, object] | None = field(default=None, hash=False)
    params: Mapping[str, object] | None = field(default=None, hash=False)


@frozen(kw_only=True)
class LeftOut(Plain):
    """A name that the listing of a batch found, but that is not a recording to restore.

    Attributes:
        path: The absolute path of the file or folder, or the URL of an object.
        reason: `result` (of this or another batch), `hidden`, `ending` (not the suffix of a
            recording, or not its content: a TypeScript file), `link` (to a folder), `folder` (of
            the results, or a folder with `recursive=False`), `duplicate` (listed before), or
            `irregular` (a device, a pipe).
    """

    path: Path | StoreUrl
    reason: LeftOutReason


@frozen(kw_only=True)
class FileOutcome(Plain):
    """How one file of a batch ended.

    Attributes:
        source: The recording, or its URL.
        state: `done`, `failed` or `skipped`.
        paths: The files of the results by type.
        urls: The objects of the results by type, as text, if the batch writes to a store.
        api_project_id: Its project, if one was created.
        generation_id: Its generation, if one was started.
        idempotency_key: Idempotency key of the generation.
        error: Message of the error.
        error_type: Name of the error's class, such as `GenerationFailed`.
        retry_is_billed: True if only a new generation can help, which is billed again: the next
            run skips the file, `retry_failed` starts it. Other failed files are retried by the
            next run.
        attempts: Number of attempts.
        size_bytes: Size of the recording.
        received_bytes: Bytes of results received.
        seconds: Duration of all attempts, over all runs.
        source_changed: The recording changed since it was listed; the results are of the new one.
        from_earlier_run: It ended before this run began.
    """

    source: Path | StoreUrl
    state: FileState
    paths: Mapping[DownloadType, Path] = field(factory=dict, hash=False)
    urls: Mapping[DownloadType, str] = field(factory=dict, hash=False, kw_only=True)
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

    def _repr_html_(self) -> str | None:
        return notebook_html(self)


@frozen(kw_only=True)
class BatchProgress(Plain):
    """Progress of a batch, in numbers of files and bytes.

    Attributes:
        files: All files of the journal.
        done: Files that ended with results (`skipped` included), in this run and before.
        failed: Files that ended without a result.
        left_out: Names that the listing found, but that are not recordings to restore.
        passed_over: Those of them that are files without the suffix of a recording.
        uploading: Files being uploaded by this run.
        generating: Generations that this run waits for.
        downloading: Results being downloaded by this run.
        sent_bytes: Bytes sent in this run.
        received_bytes: Bytes received in this run.
        seconds: Duration of this run.
        files_per_minute: Files that ended per minute of this run.
        eta_seconds: Estimated seconds until the end, None if unknown.
        workers: Number of results that each worker of a cluster has stored in this run.
        pause_reason: Why no new files are started at the moment, None if they are.
    """

    files: int
    done: int
    failed: int
    left_out: int = 0
    passed_over: int = 0
    uploading: int = 0
    generating: int = 0
    downloading: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0
    files_per_minute: float = 0.0
    eta_seconds: float | None = None
    workers: Mapping[str, int] = field(factory=dict, hash=False)
    pause_reason: str | None = None
