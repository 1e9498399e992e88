"""Methods that wait: `wait_for_complete`, `create_and_wait` and `restore_audio`."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from diffio_async import _bridge as bridge
from diffio_async._protocol.api_errors import check_has_picture
from diffio_async._protocol.endpoints import normalize_download_type
from diffio_async._validators import validate_wait
from diffio_async.compat._calls import (
    CompatClientCore,
    Responses,
    file_at,
    guide_errors,
    isolate,
    project_of,
    served,
)
from diffio_async.compat.errors import (
    DiffioApiError,
    DiffioDownloadFailed,
    DiffioGenerationFailed,
    DiffioWaitTimeout,
)
from diffio_async.compat.types import (
    CreateGenerationResponse,
    GenerationDownloadResponse,
    GenerationProgressResponse,
    RestoreInfo,
)
from diffio_async.restoration import check_recording

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from diffio_async.compat.options import RequestOptionsLike
    from diffio_async.models.generations import DownloadType, GenerationProgress

    OnProgress = Callable[[GenerationProgressResponse], object] | None

#: Seconds between polls for `pollInterval=0`; the published package polls without a pause.
_SHORTEST_PAUSE = 0.02


def wait_for_complete(
    calls: CompatClientCore,
    *,
    generationId: str,
    apiProjectId: str | None,
    pollInterval: float,
    timeout: float,
    onProgress: OnProgress,
    showProgress: bool,
    requestOptions: RequestOptionsLike,
    responses: Responses | None = None,
) -> GenerationProgressResponse:
    """Wait; a failure and a time-out are RuntimeErrors with the last progress."""
    responses = {} if responses is None else responses

    def report(_: GenerationProgress) -> None:
        if onProgress is not None:
            onProgress(GenerationProgressResponse.from_dict(responses["get_generation_progress"]))

    try:
        calls.run(
            responses,
            calls.aio.generations.wait_for_complete,
            generation_id=generationId,
            api_project_id=apiProjectId,
            poll_interval=pollInterval or _SHORTEST_PAUSE,
            timeout=timeout,
            on_progress=None if onProgress is None else bridge.hook(report),
            show_progress=showProgress,
            options=calls.options(requestOptions),
        )
    except (DiffioGenerationFailed, DiffioWaitTimeout) as failure:
        failure.progress = _last(responses)
        raise
    return GenerationProgressResponse.from_dict(responses["get_generation_progress"])


def _last(responses: Responses) -> GenerationProgressResponse | None:
    response = responses.get("get_generation_progress")
    return None if response is None else GenerationProgressResponse.from_dict(response)


def create_and_wait(
    calls: CompatClientCore,
    *,
    apiProjectId: str,
    model: str,
    sampling: Mapping[str, object] | None,
    params: Mapping[str, object] | None,
    idempotencyKey: str | None,
    pollInterval: float,
    timeout: float,
    onProgress: OnProgress,
    showProgress: bool,
    requestOptions: RequestOptionsLike,
    progressRequestOptions: RequestOptionsLike,
) -> tuple[CreateGenerationResponse, GenerationProgressResponse]:
    """Return the results of both calls."""
    generation = calls.call(
        CreateGenerationResponse.from_dict,
        calls.aio.generations.create,
        api_project_id=apiProjectId,
        model=served(model),
        sampling=sampling,
        params=params or None,
        idempotency_key=idempotencyKey,
        options=calls.options(requestOptions),
    )
    progress = wait_for_complete(
        calls,
        generationId=generation.generationId,
        apiProjectId=generation.apiProjectId,
        pollInterval=pollInterval,
        timeout=timeout,
        onProgress=onProgress,
        showProgress=showProgress,
        requestOptions=requestOptions if progressRequestOptions is None else progressRequestOptions,
    )
    return generation, progress


def restore_audio(
    calls: CompatClientCore,
    *,
    filePath: str | os.PathLike[str],
    contentType: str | None,
    contentLength: int | None,
    fileFormat: str | None,
    model: str,
    sampling: Mapping[str, object] | None,
    projectParams: Mapping[str, object] | None,
    generationParams: Mapping[str, object] | None,
    downloadType: DownloadType,
    pollInterval: float,
    timeout: float,
    onProgress: OnProgress,
    showProgress: bool,
    requestOptions: RequestOptionsLike,
    progressRequestOptions: RequestOptionsLike,
    downloadRequestOptions: RequestOptionsLike,
    raiseOnError: bool,
) -> tuple[bytes | None, RestoreInfo]:
    """Put every DiffioApiError into the dict, unless it is to be raised; raise other exceptions."""
    responses: Responses = {}
    info = _initial_info(downloadType)
    try:
        info["stage"] = "isolate"
        with guide_errors():
            # Reject now what would otherwise fail after the generation was paid for.
            kind = normalize_download_type(downloadType)
            path = file_at(filePath, "filePath")
            check_recording(path, PurePath(path).name, contentType, kind)
            validate_wait(pollInterval or None, timeout)
        isolated = isolate(
            calls,
            filePath=filePath,
            contentType=contentType,
            contentLength=contentLength,
            fileFormat=fileFormat,
            model=model,
            sampling=sampling,
            projectParams=projectParams,
            generationParams=generationParams,
            requestOptions=requestOptions,
            responses=responses,
        )
        names = {
            "generationId": isolated.generation.generationId,
            "apiProjectId": isolated.project.apiProjectId,
        }
        info["stage"] = "progress"
        progress = wait_for_complete(
            calls,
            generationId=names["generationId"],
            apiProjectId=names["apiProjectId"],
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=_first(progressRequestOptions, requestOptions),
            responses=responses,
        )
        info["stage"] = "download_info"
        with guide_errors():
            check_has_picture(kind, progress.hasVideo)
        result = calls.run(
            responses,
            calls.aio.generations.download,
            generation_id=names["generationId"],
            api_project_id=names["apiProjectId"],
            download_type=downloadType,
            options=calls.options(_first(downloadRequestOptions, requestOptions)),
        )
    except DiffioApiError as failure:
        _record(info, responses)
        _record_failure(info, failure)
        if not raiseOnError:
            return None, info
        failure.restoreInfo = info
        raise
    _record(info, responses)
    info["stage"] = "complete"
    info["ok"] = True
    return result.content, info


def _first(special: RequestOptionsLike, general: RequestOptionsLike) -> RequestOptionsLike:
    return general if special is None else special


def _initial_info(download_type: str) -> RestoreInfo:
    return {
        "ok": False,
        "stage": "start",
        "apiProjectId": None,
        "generationId": None,
        "project": None,
        "generation": None,
        "progress": None,
        "download": None,
        "downloadType": download_type,
        "downloadUrl": None,
        "fileName": None,
        "mimeType": None,
        "status": None,
        "error": None,
        "errorDetails": None,
        "exceptionType": None,
        "exceptionMessage": None,
        "statusCode": None,
        "responseBody": None,
    }


def _record(info: RestoreInfo, responses: Responses) -> None:
    """Copy the responses into the dict; an upload that failed has a project too."""
    if "create_project" in responses:
        project = project_of(responses)
        info["project"], info["apiProjectId"] = project, project.apiProjectId
    if "create_generation" in responses:
        generation = CreateGenerationResponse.from_dict(responses["create_generation"])
        info["generation"], info["generationId"] = generation, generation.generationId
    if "get_generation_progress" in responses:
        progress = GenerationProgressResponse.from_dict(responses["get_generation_progress"])
        info["progress"], info["status"] = progress, progress.status
        info["error"], info["errorDetails"] = progress.error, progress.errorDetails
    if "get_generation_download" in responses:
        download = GenerationDownloadResponse.from_dict(responses["get_generation_download"])
        info["download"], info["downloadType"] = download, download.downloadType
        info["downloadUrl"], info["fileName"] = download.downloadUrl, download.fileName
        info["mimeType"] = download.mimeType


def _record_failure(info: RestoreInfo, failure: DiffioApiError) -> None:
    if info["stage"] == "download_info" and isinstance(failure, DiffioDownloadFailed):
        info["stage"] = "download"
    if info["stage"] != "progress" or not info["error"]:
        info["error"] = str(failure)
    info["exceptionType"], info["exceptionMessage"] = type(failure).__name__, str(failure)
    info["statusCode"], info["responseBody"] = failure.statusCode, failure.responseBody
