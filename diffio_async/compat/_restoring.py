"""`restore_audio`: bytes and a dict that says how far it got, or None and why."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from diffio_async._protocol.endpoints import normalize_download_type
from diffio_async.compat._client_core import CompatClientCore, Responses, guide_errors
from diffio_async.compat._quirks import file_at, isolate, project_of
from diffio_async.compat._waiting import wait_for_complete
from diffio_async.compat.errors import DiffioApiError, DiffioDownloadFailed
from diffio_async.compat.types import (
    CreateGenerationResponse,
    GenerationDownloadResponse,
    GenerationProgressResponse,
    RestoreInfo,
)
from diffio_async.options import validate_wait
from diffio_async.restoration import check_recording

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from diffio_async.compat._waiting import OnProgress
    from diffio_async.compat.options import RequestOptionsLike
    from diffio_async.models.generations import DownloadType


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
    """Every DiffioApiError ends in the dict, unless it is to be raised; a bug is raised always."""
    heard: Responses = {}
    info = _nothing_yet(downloadType)
    try:
        info["stage"] = "isolate"
        with guide_errors():
            # What would be refused when the work is done and paid for is refused now.
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
            heard=heard,
        )
        names = {
            "generationId": isolated.generation.generationId,
            "apiProjectId": isolated.project.apiProjectId,
        }
        info["stage"] = "progress"
        wait_for_complete(
            calls,
            generationId=names["generationId"],
            apiProjectId=names["apiProjectId"],
            pollInterval=pollInterval,
            timeout=timeout,
            onProgress=onProgress,
            showProgress=showProgress,
            requestOptions=_first(progressRequestOptions, requestOptions),
            heard=heard,
        )
        info["stage"] = "download_info"
        result = calls.run(
            heard,
            calls.aio.generations.download,
            generation_id=names["generationId"],
            api_project_id=names["apiProjectId"],
            download_type=downloadType,
            options=calls.options(_first(downloadRequestOptions, requestOptions)),
        )
    except DiffioApiError as failure:
        _record(info, heard)
        _record_failure(info, failure)
        if not raiseOnError:
            return None, info
        failure.restoreInfo = info
        raise
    _record(info, heard)
    info["stage"] = "complete"
    info["ok"] = True
    return result.content, info


def _first(special: RequestOptionsLike, general: RequestOptionsLike) -> RequestOptionsLike:
    return general if special is None else special


def _nothing_yet(download_type: str) -> RestoreInfo:
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


def _record(info: RestoreInfo, heard: Responses) -> None:
    """Whatever was heard before it ended: an upload that failed has a project all the same."""
    if "create_project" in heard:
        project = project_of(heard)
        info["project"], info["apiProjectId"] = project, project.apiProjectId
    if "create_generation" in heard:
        generation = CreateGenerationResponse.from_dict(heard["create_generation"])
        info["generation"], info["generationId"] = generation, generation.generationId
    if "get_generation_progress" in heard:
        progress = GenerationProgressResponse.from_dict(heard["get_generation_progress"])
        info["progress"], info["status"] = progress, progress.status
        info["error"], info["errorDetails"] = progress.error, progress.errorDetails
    if "get_generation_download" in heard:
        download = GenerationDownloadResponse.from_dict(heard["get_generation_download"])
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
