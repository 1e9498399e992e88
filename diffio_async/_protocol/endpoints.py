"""One function per endpoint: account, keys, usage and webhooks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import evolve, field, frozen

from diffio_async._protocol.retry import RetrySafety
from diffio_async._protocol.several import several
from diffio_async._protocol.urls import generation_path, require_secure_url
from diffio_async._validators import displayed
from diffio_async.errors import ConfigurationError
from diffio_async.models.account import AccountSettings, ApiKey, ApiKeyList, UsageSummary
from diffio_async.models.generations import (
    Download,
    Generation,
    GenerationList,
    GenerationProgress,
)
from diffio_async.models.projects import ProjectList
from diffio_async.models.uploads import CreatedProject, UploadConfirmation
from diffio_async.models.webhooks import ConfiguredWebhook, SentTestEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

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
class ApiRequest(Generic[T]):
    """One API request, and how its response is decoded.

    Attributes:
        name: What logs and errors call it.
        path: Below the API's base URL, or a whole URL at the edge.
        json: The body; None where bytes are sent instead.
        returns: The model that the response is decoded to.
        retry_safety: What sending it twice would do.
        needs: Optional fields of the model that this call cannot do without.
        bearer: The edge's credential; the API's key is the client's.
        extra_retry_statuses: Statuses that are retried here, beside the usual ones.
        about: What is requested, where an error should name it.
    """

    name: str
    path: str
    returns: type[T]
    retry_safety: RetrySafety
    host: Host = Host.API
    method: str = "POST"
    json: Mapping[str, Json] | None = None
    needs: tuple[str, ...] = ()
    bearer: str | None = field(default=None, repr=False)
    extra_retry_statuses: frozenset[int] = frozenset()
    about: str = ""


def omit_none(**fields: Json) -> dict[str, Json]:
    """Return the fields that have a value: to the API, absent and null differ."""
    return {name: value for name, value in fields.items() if value is not None}


def require_text(value: object, name: str) -> str:
    """An id or a label that is there.

    Raises:
        ConfigurationError: It is empty.
    """
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(f"{name} must be a non-empty string, not {displayed(value)}")
    return value


def optional_text(value: T, name: str) -> T:
    """Return an argument that is a string or None.

    Raises:
        ConfigurationError: It is something else.
    """
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string, not {displayed(value)}")
    return value


def require_json_object(value: Mapping[str, Json] | None, name: str) -> dict[str, Json] | None:
    """A JSON object of the user's, checked before anything else is done with the job."""
    if value is None:
        return None
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as failure:
        raise ConfigurationError(f"{name} cannot be written as a JSON object: {failure}") from None
    return dict(value)


def _request(
    name: str, returns: type[T], retry_safety: RetrySafety, **fields: object
) -> ApiRequest[T]:
    """Build the request of an endpoint whose path is its name, without fields that are None."""
    json = omit_none(**fields)
    return ApiRequest(
        name=name, path=f"/{name}", returns=returns, retry_safety=retry_safety, json=json
    )


def create_project(
    *,
    file_name: str,
    content_type: str,
    content_length: int,
    file_format: str | None = None,
    params: Mapping[str, Json] | None = None,
) -> ApiRequest[CreatedProject]:
    """`create_project`; never retried: a lost response leaves a project that cannot be deleted."""
    body = omit_none(
        fileName=optional_text(file_name, "file_name"),
        contentType=optional_text(content_type, "content_type"),
        contentLength=content_length,
        fileFormat=optional_text(file_format, "file_format"),
        params=require_json_object(params, "params"),
    )
    return ApiRequest(
        name="create_project",
        path="/create_project",
        json=body,
        returns=CreatedProject,
        retry_safety=RetrySafety.NEVER,
    )


def complete_project_upload(api_project_id: str) -> ApiRequest[UploadConfirmation]:
    """`complete_project_upload`; status 409 means that the bytes have not arrived yet."""
    project = require_text(api_project_id, "api_project_id")
    return _request(
        "complete_project_upload",
        UploadConfirmation,
        RetrySafety.IDEMPOTENT,
        apiProjectId=project,
    )


def list_projects() -> ApiRequest[ProjectList]:
    """`list_projects`."""
    return _request("list_projects", ProjectList, RetrySafety.READ)


def list_project_generations(api_project_id: str) -> ApiRequest[GenerationList]:
    """`list_project_generations`: the status of every generation of a project."""
    project = require_text(api_project_id, "api_project_id")
    return _request(
        "list_project_generations", GenerationList, RetrySafety.READ, apiProjectId=project
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
) -> ApiRequest[Generation]:
    """`<model>-generation`, always under an idempotency key: twice would be billed twice."""
    body = omit_none(
        apiProjectId=require_text(api_project_id, "api_project_id"),
        sampling=require_json_object(sampling, "sampling"),
        params=require_json_object(params, "params"),
        idempotencyKey=idempotency_key(key),
    )
    return ApiRequest(
        name="create_generation",
        path=generation_path(model),
        json=body,
        returns=Generation,
        retry_safety=RetrySafety.KEYED,
    )


def get_generation_progress(
    generation_id: str, api_project_id: str | None
) -> ApiRequest[GenerationProgress]:
    """`get_generation_progress`; the project's id speeds the look-up."""
    return ApiRequest(
        name="get_generation_progress",
        path="/get_generation_progress",
        json=omit_none(
            generationId=require_text(generation_id, "generation_id"),
            apiProjectId=optional_text(api_project_id, "api_project_id") or None,
        ),
        returns=GenerationProgress,
        retry_safety=RetrySafety.READ,
    )


def normalize_download_type(download_type: str) -> str:
    """Return the API's name of a download type (`mp3` is `audio`).

    Raises:
        ConfigurationError: There is no such type.
    """
    try:
        return _WIRE_DOWNLOAD_TYPES[download_type]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"{displayed(download_type)} is no download type: choose audio (or mp3), video or "
            "transcript"
        ) from None


def get_generation_download(
    generation_id: str, api_project_id: str, download_type: str | None
) -> ApiRequest[Download]:
    """`get_generation_download`: a signed link; without a type the server chooses."""
    wire_type = None if download_type is None else normalize_download_type(download_type)
    return ApiRequest(
        name="get_generation_download",
        path="/get_generation_download",
        json=omit_none(
            generationId=require_text(generation_id, "generation_id"),
            apiProjectId=require_text(api_project_id, "api_project_id"),
            downloadType=wire_type,
        ),
        returns=Download,
        retry_safety=RetrySafety.READ,
        about=wire_type or "",
    )


MAX_LABEL = 80


def _new_secret(name: str, **fields: object) -> ApiRequest[ApiKey]:
    # Its response has the secret, once: without it the key is worth nothing.
    return evolve(_request(name, ApiKey, RetrySafety.NEVER, **fields), needs=("key",))


def get_account_settings() -> ApiRequest[AccountSettings]:
    """`account/settings/get`."""
    return _request("account/settings/get", AccountSettings, RetrySafety.READ)


def update_account_settings(billing_policy: Mapping[str, object]) -> ApiRequest[AccountSettings]:
    """`account/settings/update`: the same policy twice is the same policy."""
    policy = require_json_object(billing_policy, "billing_policy")
    return _request(
        "account/settings/update", AccountSettings, RetrySafety.IDEMPOTENT, billingPolicy=policy
    )


def create_api_key(
    *, label: str, scopes: Iterable[str], resource_bounds: Mapping[str, object] | None
) -> ApiRequest[ApiKey]:
    """`api_keys/create`: never retried: twice would leave an active key that nobody has."""
    if len(require_text(label, "label")) > MAX_LABEL:
        raise ConfigurationError(f"a label has at most {MAX_LABEL} characters, not {len(label)}")
    return _new_secret(
        "api_keys/create",
        label=label,
        scopes=require_strings(scopes, "scopes"),
        resourceBounds=require_json_object(resource_bounds, "resource_bounds"),
    )


def list_api_keys() -> ApiRequest[ApiKeyList]:
    """`api_keys/list`."""
    return _request("api_keys/list", ApiKeyList, RetrySafety.READ)


def rotate_api_key(key_id: str) -> ApiRequest[ApiKey]:
    """`api_keys/rotate`: twice would make the first new key worthless. Never repeated."""
    return _new_secret("api_keys/rotate", keyId=require_text(key_id, "key_id"))


def revoke_api_key(key_id: str) -> ApiRequest[ApiKey]:
    """`api_keys/revoke`: revoked stays revoked."""
    return _request(
        "api_keys/revoke", ApiKey, RetrySafety.IDEMPOTENT, keyId=require_text(key_id, "key_id")
    )


def usage_summary(api_key_id: str | None) -> ApiRequest[UsageSummary]:
    """`usage/summary`."""
    return _request(
        "usage/summary",
        UsageSummary,
        RetrySafety.READ,
        apiKeyId=optional_text(api_key_id, "api_key_id"),
    )


def configure_webhook(
    *,
    mode: str,
    url: str,
    event_types: Iterable[str],
    api_key_id: str | None,
    allow_insecure_http: bool = False,
) -> ApiRequest[ConfiguredWebhook]:
    """`webhooks/configure`: each key has one endpoint a mode, so twice is once."""
    return _request(
        "webhooks/configure",
        ConfiguredWebhook,
        RetrySafety.IDEMPOTENT,
        mode=webhook_mode(mode),
        url=require_secure_url(url, "the webhook's url", allow_insecure_http=allow_insecure_http),
        eventTypes=require_strings(event_types, "event_types"),
        apiKeyId=optional_text(api_key_id, "api_key_id"),
    )


def send_test_event(
    *,
    event_type: str,
    mode: str,
    api_key_id: str | None,
    sample_payload: Mapping[str, object] | None,
) -> ApiRequest[SentTestEvent]:
    """`webhooks/send_test_event`: twice delivers two events. Never repeated."""
    return _request(
        "webhooks/send_test_event",
        SentTestEvent,
        RetrySafety.NEVER,
        eventType=require_text(event_type, "event_type"),
        mode=webhook_mode(mode),
        apiKeyId=optional_text(api_key_id, "api_key_id"),
        samplePayload=require_json_object(sample_payload, "sample_payload"),
    )


def webhook_mode(mode: str) -> str:
    """`test` or `live`.

    Raises:
        ConfigurationError: It is neither.
    """
    given: object = mode
    if not isinstance(given, str) or given not in {"test", "live"}:
        raise ConfigurationError(f"{displayed(mode)} is no webhook mode: choose test or live")
    return mode


def require_strings(values: object, name: str) -> list[str]:
    """One or more strings.

    Raises:
        ConfigurationError: It is one string alone, is empty, or holds something else.
    """
    found = several(values, name)
    if not found:
        raise ConfigurationError(f"{name} must be one or more words")
    return list(found)
