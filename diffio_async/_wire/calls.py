"""One function per endpoint: what to send, where to, what comes back, may it be sent again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

from attrs import field, frozen

from diffio_async._wire.addresses import generation_path
from diffio_async._wire.replay import Replay
from diffio_async.errors import ConfigurationError
from diffio_async.models.generations import (
    Download,
    Generation,
    GenerationList,
    GenerationProgress,
)
from diffio_async.models.projects import ProjectList
from diffio_async.models.uploads import CreatedProject, UploadedProject

T = TypeVar("T")
Json = object

MAX_KEY = 255
_WIRE_DOWNLOAD_TYPES = {
    "audio": "audio",
    "mp3": "audio",
    "video": "video",
    "transcript": "transcript",
}


class Host(Enum):
    """Where a request goes; the host selects the credential. Media gets none: the URL is it."""

    API = "api"
    EDGE = "edge"
    MEDIA = "media"


@frozen(kw_only=True)
class Call(Generic[T]):
    """One request to be made, and what its answer means.

    Attributes:
        name: What logs and errors call it.
        path: Below the API's base URL, or a whole URL at the edge.
        json: The body; None where bytes are sent instead.
        returns: The model the answer becomes.
        replay: What sending it twice would do.
        needs: Optional fields of the model that this call cannot do without.
        token: The edge's credential; the API's key is the client's.
        also_transient: Statuses worth another try here, beside the usual ones.
        about: What is asked for, where an error should name it.
    """

    name: str
    path: str
    returns: type[T]
    replay: Replay
    host: Host = Host.API
    method: str = "POST"
    json: Mapping[str, Json] | None = None
    needs: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    also_transient: frozenset[int] = frozenset()
    about: str = ""


def given(**fields: Json) -> dict[str, Json]:
    """The fields that have a value: the API tells absent from null."""
    return {name: value for name, value in fields.items() if value is not None}


def named(value: object, name: str) -> str:
    """An id or a label that is there.

    Raises:
        ConfigurationError: It is empty.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must be a non-empty string, not {value!r}")
    return value


def json_object(value: Mapping[str, Json] | None, name: str) -> dict[str, Json] | None:
    """A JSON object of the user's, checked before anything else is done with the job."""
    if value is None:
        return None
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as failure:
        raise ConfigurationError(f"{name} cannot be written as a JSON object: {failure}") from None
    return dict(value)


def create_project(
    *,
    file_name: str,
    content_type: str,
    content_length: int,
    file_format: str | None = None,
    params: Mapping[str, Json] | None = None,
) -> Call[CreatedProject]:
    """`create_project`; a lost answer leaves a project that nobody can delete: never repeated."""
    body = given(
        fileName=file_name,
        contentType=content_type,
        contentLength=content_length,
        fileFormat=file_format,
        params=json_object(params, "params"),
    )
    return Call(
        name="create_project",
        path="/create_project",
        json=body,
        returns=CreatedProject,
        replay=Replay.NEVER,
    )


def complete_project_upload(api_project_id: str) -> Call[UploadedProject]:
    """`complete_project_upload`; 409 says that the bytes have not landed yet."""
    return Call(
        name="complete_project_upload",
        path="/complete_project_upload",
        json={"apiProjectId": named(api_project_id, "api_project_id")},
        returns=UploadedProject,
        replay=Replay.IDEMPOTENT,
    )


def list_projects() -> Call[ProjectList]:
    """`list_projects`."""
    return Call(
        name="list_projects",
        path="/list_projects",
        json={},
        returns=ProjectList,
        replay=Replay.READ,
    )


def list_project_generations(api_project_id: str) -> Call[GenerationList]:
    """`list_project_generations`: the status of every generation of a project."""
    return Call(
        name="list_project_generations",
        path="/list_project_generations",
        json={"apiProjectId": named(api_project_id, "api_project_id")},
        returns=GenerationList,
        replay=Replay.READ,
    )


def idempotency_key(key: object) -> str:
    """The key as it is sent: trimmed, 1 to 255 characters.

    Raises:
        ConfigurationError: It is no string, empty or too long.
    """
    if not isinstance(key, str):
        raise ConfigurationError(f"an idempotency key is a string, not {type(key).__name__}")
    key = key.strip()
    if not 1 <= len(key) <= MAX_KEY:
        raise ConfigurationError(
            f"an idempotency key has 1 to {MAX_KEY} characters after trimming, not {len(key)}"
        )
    return key


def create_generation(
    *,
    api_project_id: str,
    model: str,
    key: str,
    sampling: Mapping[str, Json] | None = None,
    params: Mapping[str, Json] | None = None,
) -> Call[Generation]:
    """`<model>-generation`, always under an idempotency key: twice would be billed twice."""
    body = given(
        apiProjectId=named(api_project_id, "api_project_id"),
        sampling=json_object(sampling, "sampling"),
        params=json_object(params, "params"),
        idempotencyKey=idempotency_key(key),
    )
    return Call(
        name="create_generation",
        path=generation_path(model),
        json=body,
        returns=Generation,
        replay=Replay.KEYED,
    )


def get_generation_progress(
    generation_id: str, api_project_id: str | None
) -> Call[GenerationProgress]:
    """`get_generation_progress`; the project's id speeds the look-up."""
    return Call(
        name="get_generation_progress",
        path="/get_generation_progress",
        json=given(
            generationId=named(generation_id, "generation_id"), apiProjectId=api_project_id or None
        ),
        returns=GenerationProgress,
        replay=Replay.READ,
    )


def wire_download_type(download_type: str) -> str:
    """The API's word for a download type (`mp3` is `audio`).

    Raises:
        ConfigurationError: There is no such type.
    """
    try:
        return _WIRE_DOWNLOAD_TYPES[download_type]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"{download_type!r} is no download type: choose audio (or mp3), video or transcript"
        ) from None


def get_generation_download(
    generation_id: str, api_project_id: str, download_type: str | None
) -> Call[Download]:
    """`get_generation_download`: a signed link; without a type the server chooses."""
    wire_type = None if download_type is None else wire_download_type(download_type)
    return Call(
        name="get_generation_download",
        path="/get_generation_download",
        json=given(
            generationId=named(generation_id, "generation_id"),
            apiProjectId=named(api_project_id, "api_project_id"),
            downloadType=wire_type,
        ),
        returns=Download,
        replay=Replay.READ,
        about=wire_type or "",
    )
