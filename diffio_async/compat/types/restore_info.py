"""The dict beside the bytes of `restore_audio`."""

from __future__ import annotations

from typing import Any, TypedDict

from diffio_async.compat.types._generated import (
    CreateGenerationResponse,
    CreateProjectResponse,
    GenerationDownloadResponse,
    GenerationProgressResponse,
)


class RestoreInfo(TypedDict):
    """How far a restoration got; what it did not get to is None.

    `stage` is `isolate`, `progress`, `download_info`, `download` or `complete`; `ok` is true with
    the last alone. `error` is the service's reason, or the exception's text.
    """

    ok: bool
    stage: str
    apiProjectId: str | None
    generationId: str | None
    project: CreateProjectResponse | None
    generation: CreateGenerationResponse | None
    progress: GenerationProgressResponse | None
    download: GenerationDownloadResponse | None
    downloadType: str
    downloadUrl: str | None
    fileName: str | None
    mimeType: str | None
    status: str | None
    error: str | None
    errorDetails: object
    exceptionType: str | None
    exceptionMessage: str | None
    statusCode: int | None
    responseBody: Any
