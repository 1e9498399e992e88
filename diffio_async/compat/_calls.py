"""Calls of the coroutine client by the compat client, and methods that differ between them.

Each function with a parameter `calls` is the body of the method with its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Coroutine, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from diffio_async import _bridge as bridge
from diffio_async._http.transport import response_tap
from diffio_async._protocol.media_types import ending_of
from diffio_async.client import AsyncDiffio
from diffio_async.compat import options
from diffio_async.compat.errors import DiffioApiError, respell, to_compat_error
from diffio_async.compat.types import (
    AudioIsolationResult,
    CreateGenerationResponse,
    CreateProjectResponse,
    GenerationDownloadResponse,
    GenerationWebhookEvent,
)
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.options import DEFAULT_BASE_URL, ClientOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async import options as native
    from diffio_async.compat.options import RequestOptionsLike
    from diffio_async.models.generations import DownloadType

    Path = str | os.PathLike[str]

P = ParamSpec("P")
T = TypeVar("T")
Json = Mapping[str, object]
#: Responses by the name of their call, in the order of arrival.
Responses = dict[str, Json]


class CompatClientCore:
    """The coroutine client, and the options of all its calls."""

    def __init__(
        self,
        *,
        apiKey: str | None,
        baseUrl: str | None,
        timeout: float | None,
        timeoutInSeconds: float | None,
        httpClient: object,
        requestOptions: RequestOptionsLike,
    ) -> None:
        with guide_errors():
            if httpClient is not None:
                raise ConfigurationError(
                    "httpClient cannot be used here: requests are sent by aiohttp. Proxies are "
                    "read from the environment; timeouts and headers are requestOptions"
                )
            self.client_options = options.read(requestOptions)
            given = self.client_options
            seconds = timeoutInSeconds if timeoutInSeconds is not None else timeout
            self.api_key = apiKey or os.environ.get("DIFFIO_API_KEY") or ""
            base_url = baseUrl or os.environ.get("DIFFIO_API_BASE_URL") or DEFAULT_BASE_URL
            self.base_url = base_url.rstrip("/")
            self.aio = AsyncDiffio(
                given.apiKey or self.api_key,
                base_url=base_url,
                options=ClientOptions(
                    headers=given.headers,
                    timeouts=options.timeouts(
                        given.timeout if given.timeout is not None else seconds
                    ),
                    retry=options.retry(
                        given.maxRetries, given.retryBackoff, given.retryStatusCodes
                    ),
                    # The published package uses the proxies of the environment.
                    trust_env=True,
                ),
            )

    def options(self, given: RequestOptionsLike) -> native.RequestOptions | None:
        """Return the options of one call."""
        with guide_errors():
            return options.of_call(self.client_options, given)

    def call(
        self,
        build: Callable[[Json], T],
        function: Callable[P, Coroutine[Any, Any, object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function and return its last response, built with `build`."""
        responses: Responses = {}
        self.run(responses, function, *args, **kwargs)
        return build(next(reversed(responses.values())))

    def run(
        self,
        responses: Responses,
        function: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function; its responses are added to `responses`.

        Raises:
            DiffioApiError: The error that corresponds to the DiffioError of the function.
        """

        def record(call: str, response: object) -> None:
            if isinstance(response, dict):
                responses.pop(call, None)
                responses[call] = response

        async def work() -> T:
            response_tap.set(record)
            return await function(*args, **kwargs)

        try:
            return bridge.run(work)
        except DiffioError as failure:
            raise to_compat_error(failure) from failure
        except (KeyboardInterrupt, SystemExit) as interruption:
            respell(interruption)
            raise

    def close(self) -> None:
        """Close the connections; later calls raise `DiffioClientClosed`."""
        self.run({}, self.aio.aclose)


@contextlib.contextmanager
def guide_errors() -> Iterator[None]:
    """Raise a DiffioError as the DiffioApiError that corresponds to it."""
    try:
        yield
    except DiffioError as failure:
        raise to_compat_error(failure) from failure


#: Models before 4.6, which the published package replaces by their successors.
_SUCCESSORS = {
    "diffio-4.5-flash": "diffio-4.6-flash",
    "diffio-4.5-pro": "diffio-4.6-pro",
}


def served(model: str) -> str:
    """Return the model to request. The API decides which models are available."""
    return _SUCCESSORS.get(model, model)


def file_at(path: Path | None, name: str) -> str:
    """Return the path as a string.

    Raises:
        DiffioConfigurationError: It is missing.
        TypeError: It is not a path.
    """
    found = "" if path is None else os.fsdecode(path)
    with guide_errors():
        if not found:
            raise ConfigurationError(f"{name} is required")
    return found


def create_project(
    calls: CompatClientCore,
    *,
    filePath: Path,
    contentType: str | None,
    contentLength: int | None,  # noqa: ARG001 - the size of the file is sent
    params: Mapping[str, object] | None,
    fileFormat: str | None,
    requestOptions: RequestOptionsLike,
) -> CreateProjectResponse:
    """Create a project; the result joins the responses of its creation and its completion."""
    responses: Responses = {}
    calls.run(
        responses,
        calls.aio.projects.create,
        file_at(filePath, "filePath"),
        content_type=contentType or None,
        file_format=fileFormat,
        params=params or None,
        options=calls.options(requestOptions),
    )
    return project_of(responses)


def project_of(responses: Responses) -> CreateProjectResponse:
    """Return the project of a call that created one."""
    completion = responses.get("complete_project_upload")
    return CreateProjectResponse.from_dict(
        {**responses["create_project"], **({"uploadCompletion": completion} if completion else {})}
    )


def isolate(
    calls: CompatClientCore,
    *,
    filePath: Path,
    contentType: str | None,
    contentLength: int | None,  # noqa: ARG001 - as for create_project
    fileFormat: str | None,
    model: str,
    sampling: Mapping[str, object] | None,
    projectParams: Mapping[str, object] | None,
    generationParams: Mapping[str, object] | None,
    requestOptions: RequestOptionsLike,
    responses: Responses | None = None,
) -> AudioIsolationResult:
    """Create a project and a generation; the model is checked before the upload."""
    responses = {} if responses is None else responses
    calls.run(
        responses,
        calls.aio.audio_isolation.isolate,
        file_at(filePath, "filePath"),
        content_type=contentType or None,
        file_format=fileFormat,
        model=served(model),
        sampling=sampling,
        project_params=projectParams or None,
        generation_params=generationParams or None,
        options=calls.options(requestOptions),
    )
    generation = CreateGenerationResponse.from_dict(responses["create_generation"])
    return AudioIsolationResult(project=project_of(responses), generation=generation)


def download(
    calls: CompatClientCore,
    *,
    generationId: str,
    apiProjectId: str,
    downloadFilePath: Path,
    downloadType: DownloadType | None,
    requestOptions: RequestOptionsLike,
) -> GenerationDownloadResponse:
    """Download a result; an existing file is replaced atomically, by a complete result."""
    target = file_at(downloadFilePath, "downloadFilePath")
    result = calls.call(
        GenerationDownloadResponse.from_dict,
        calls.aio.generations.download,
        generation_id=generationId,
        api_project_id=apiProjectId,
        download_file_path=target,
        download_type=downloadType,
        on_conflict="overwrite",
        options=calls.options(requestOptions),
    )
    suffix = _suffix(result)
    if suffix and PurePath(target).suffix.lower() != suffix.lower():
        warnings.warn(
            f"downloadFilePath should end with {suffix} for {result.downloadType} downloads. "
            f"Received {target}.",
            UserWarning,
            stacklevel=3,
        )
    return result


def _suffix(result: GenerationDownloadResponse) -> str | None:
    known = {"audio": ".mp3", "transcript": ".json"}.get(result.downloadType)
    if known or result.downloadType != "video":
        return known
    return PurePath(result.fileName or "").suffix or ending_of(result.mimeType or "")


def verify_signature(
    calls: CompatClientCore, *, payload: bytes | str, headers: Mapping[str, object], secret: str
) -> GenerationWebhookEvent:
    """Verify a delivery. Header values may be lists; every failure is a DiffioApiError."""
    if not hasattr(headers, "items"):
        raise DiffioApiError("headers must be a dict-like object")
    flat = {
        str(name): ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for name, value in headers.items()
        if value is not None
    }
    with guide_errors():
        if not secret:
            raise ConfigurationError("secret is required")
        calls.aio.webhooks.verify_signature(payload=payload, headers=flat, secret=secret)
    return GenerationWebhookEvent.from_dict(cast("Json", json.loads(payload)))
