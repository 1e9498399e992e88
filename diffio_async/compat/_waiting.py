"""Waiting as the guide's package does: told in its words, and ended by a RuntimeError."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async import _bridge as bridge
from diffio_async.compat._quirks import served
from diffio_async.compat.errors import DiffioGenerationFailed, DiffioWaitTimeout
from diffio_async.compat.types import CreateGenerationResponse, GenerationProgressResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from diffio_async.compat._client_core import CompatClientCore, Responses
    from diffio_async.compat.options import RequestOptionsLike
    from diffio_async.models.generations import GenerationProgress

    OnProgress = Callable[[GenerationProgressResponse], object] | None

#: Seconds between questions where the guide's package would ask without a pause.
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
    heard: Responses | None = None,
) -> GenerationProgressResponse:
    """The callback is told in the guide's words, and the errors are RuntimeErrors."""
    heard = {} if heard is None else heard
    try:
        calls.run(
            heard,
            calls.aio.generations.wait_for_complete,
            generation_id=generationId,
            api_project_id=apiProjectId,
            poll_interval=pollInterval or _SHORTEST_PAUSE,
            timeout=timeout,
            on_progress=None if onProgress is None else bridge.hook(_notifying(onProgress, heard)),
            show_progress=showProgress,
            options=calls.options(requestOptions),
        )
    except (DiffioGenerationFailed, DiffioWaitTimeout) as failure:
        failure.progress = _last(heard)
        raise
    return GenerationProgressResponse.from_dict(heard["get_generation_progress"])


def _last(heard: Responses) -> GenerationProgressResponse | None:
    answer = heard.get("get_generation_progress")
    return None if answer is None else GenerationProgressResponse.from_dict(answer)


def _notifying(
    callback: Callable[[GenerationProgressResponse], object], heard: Responses
) -> Callable[[GenerationProgress], object]:
    """A callback of ours that tells one of the guide's what was heard last."""

    def tell(_: GenerationProgress) -> object:
        return callback(GenerationProgressResponse.from_dict(heard["get_generation_progress"]))

    return tell


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
    """The guide's package answers with both."""
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
