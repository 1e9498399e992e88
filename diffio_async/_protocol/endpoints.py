"""One function per endpoint of the API and the edge, and the checks of their arguments."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from attrs import evolve

from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.requests import ApiRequest, Host
from diffio_async._protocol.retry import RetrySafety
from diffio_async._protocol.urls import require_secure_url
from diffio_async._validators import displayed, require_strings
from diffio_async.errors import ConfigurationError, InvalidResponse
from diffio_async.models.account import AccountSettings, ApiKey, ApiKeyList, UsageSummary
from diffio_async.models.generations import (
    Download,
    Generation,
    GenerationList,
    GenerationProgress,
)
from diffio_async.models.projects import (
    CreatedProject,
    EmptyResponse,
    MultipartStarted,
    PartAck,
    ProjectList,
    UploadConfirmation,
)
from diffio_async.models.webhooks import ConfiguredWebhook, SentTestEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from diffio_async.models.projects import EdgeUpload

T = TypeVar("T")

MAX_KEY = 255
MAX_LABEL = 80
_WIRE_DOWNLOAD_TYPES = {
    "audio": "audio",
    "mp3": "audio",
    "video": "video",
    "transcript": "transcript",
}
_MODEL = re.compile(r"diffio-[a-z0-9.-]+")
# The models whose endpoint is not their own name (from the contract's table).
_ENDPOINTS = {"diffio-2": "diffio-2.0", "diffio-2-flash": "diffio-2.0-flash"}


def omit_none(**fields: object) -> dict[str, object]:
    """Return the fields that have a value: to the API, absent and null differ."""
    return {name: value for name, value in fields.items() if value is not None}


def require_text(value: object, name: str) -> str:
    """Return an id or a label.

    Raises:
        ConfigurationError: It is not a string, or is blank.
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


def require_json_object(value: Mapping[str, object] | None, name: str) -> dict[str, object] | None:
    """Return a copy of a JSON object; None if it is absent.

    Raises:
        ConfigurationError: It cannot be written as a JSON object.
    """
    if value is None:
        return None
    try:
        json.dumps(dict(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as failure:
        raise ConfigurationError(f"{name} cannot be written as a JSON object: {failure}") from None
    return dict(value)


def idempotency_key(key: object) -> str:
    """Return the key as it is sent: trimmed, 1 to 255 characters.

    Raises:
        ConfigurationError: It is not a string, or is empty or too long.
    """
    if not isinstance(key, str):
        raise ConfigurationError(f"an idempotency key is a string, not {type(key).__name__}")
    key = key.strip()
    if not 1 <= len(key) <= MAX_KEY:
        raise ConfigurationError(
            f"an idempotency key has 1 to {MAX_KEY} characters after trimming, not {len(key)}"
        )
    return key


def normalize_download_type(download_type: str) -> str:
    """Return the API's name of a download type (`mp3` is `audio`).

    Raises:
        ConfigurationError: The type is unknown.
    """
    try:
        return _WIRE_DOWNLOAD_TYPES[download_type]
    except (KeyError, TypeError):
        raise ConfigurationError(
            f"{displayed(download_type)} is not a download type: choose audio (or mp3), video or "
            "transcript"
        ) from None


def webhook_mode(mode: object) -> str:
    """Return `test` or `live`.

    Raises:
        ConfigurationError: It is neither.
    """
    if not isinstance(mode, str) or mode not in {"test", "live"}:
        raise ConfigurationError(f"{displayed(mode)} is not a webhook mode: choose test or live")
    return mode


def generation_path(model: object) -> str:
    """Return the path of a model's endpoint. The API decides which models are available.

    Raises:
        ConfigurationError: The name is not `diffio-` and then letters a-z, digits, `.` and `-`.
    """
    if not isinstance(model, str) or not _MODEL.fullmatch(model):
        raise ConfigurationError(
            f"{displayed(model)} cannot be a model's name: it is diffio- and then a-z, 0-9, '.' or "
            "'-', as in diffio-4.6-flash"
        )
    return f"/{_ENDPOINTS.get(model, model)}-generation"


def _request(
    name: str, returns: type[T], retry_safety: RetrySafety, /, **fields: object
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
    params: Mapping[str, object] | None = None,
) -> ApiRequest[CreatedProject]:
    """`create_project`; never retried: a lost response leaves a project that cannot be deleted."""
    return _request(
        "create_project",
        CreatedProject,
        RetrySafety.NEVER,
        fileName=optional_text(file_name, "file_name"),
        contentType=optional_text(content_type, "content_type"),
        contentLength=content_length,
        fileFormat=optional_text(file_format, "file_format"),
        params=require_json_object(params, "params"),
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


def create_generation(
    *,
    api_project_id: str,
    model: str,
    key: str,
    sampling: Mapping[str, object] | None = None,
    params: Mapping[str, object] | None = None,
) -> ApiRequest[Generation]:
    """`<model>-generation`, always with an idempotency key: two would be billed twice."""
    request = _request(
        "create_generation",
        Generation,
        RetrySafety.KEYED,
        apiProjectId=require_text(api_project_id, "api_project_id"),
        sampling=require_json_object(sampling, "sampling"),
        params=require_json_object(params, "params"),
        idempotencyKey=idempotency_key(key),
    )
    return evolve(request, path=generation_path(model))


def get_generation_progress(
    generation_id: str, api_project_id: str | None
) -> ApiRequest[GenerationProgress]:
    """`get_generation_progress`; the project's id speeds up the look-up."""
    return _request(
        "get_generation_progress",
        GenerationProgress,
        RetrySafety.READ,
        generationId=require_text(generation_id, "generation_id"),
        apiProjectId=optional_text(api_project_id, "api_project_id") or None,
    )


def get_generation_download(
    generation_id: str, api_project_id: str, download_type: str | None
) -> ApiRequest[Download]:
    """`get_generation_download`: a signed link; without a type the server chooses."""
    wire_type = None if download_type is None else normalize_download_type(download_type)
    request = _request(
        "get_generation_download",
        Download,
        RetrySafety.READ,
        generationId=require_text(generation_id, "generation_id"),
        apiProjectId=require_text(api_project_id, "api_project_id"),
        downloadType=wire_type,
    )
    return evolve(request, about=wire_type or "")


def _new_secret(name: str, **fields: object) -> ApiRequest[ApiKey]:
    # The response contains the secret, once: without it the key cannot be used.
    return evolve(_request(name, ApiKey, RetrySafety.NEVER, **fields), needs=("key",))


def get_account_settings() -> ApiRequest[AccountSettings]:
    """`account/settings/get`."""
    return _request("account/settings/get", AccountSettings, RetrySafety.READ)


def update_account_settings(billing_policy: Mapping[str, object]) -> ApiRequest[AccountSettings]:
    """`account/settings/update`: sending the same policy twice has the effect of once."""
    policy = require_json_object(billing_policy, "billing_policy")
    return _request(
        "account/settings/update", AccountSettings, RetrySafety.IDEMPOTENT, billingPolicy=policy
    )


def create_api_key(
    *, label: str, scopes: Iterable[str], resource_bounds: Mapping[str, object] | None
) -> ApiRequest[ApiKey]:
    """`api_keys/create`; never retried: a lost response leaves an active key unknown to anyone."""
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
    """`api_keys/rotate`; never retried: a second rotation would invalidate the first new key."""
    return _new_secret("api_keys/rotate", keyId=require_text(key_id, "key_id"))


def revoke_api_key(key_id: str) -> ApiRequest[ApiKey]:
    """`api_keys/revoke`."""
    return _request(
        "api_keys/revoke", ApiKey, RetrySafety.IDEMPOTENT, keyId=require_text(key_id, "key_id")
    )


def usage_summary(api_key_id: str | None) -> ApiRequest[UsageSummary]:
    """`usage/summary`."""
    key_id = optional_text(api_key_id, "api_key_id")
    return _request("usage/summary", UsageSummary, RetrySafety.READ, apiKeyId=key_id)


def configure_webhook(
    *,
    mode: str,
    url: str,
    event_types: Iterable[str],
    api_key_id: str | None,
    allow_insecure_http: bool = False,
) -> ApiRequest[ConfiguredWebhook]:
    """`webhooks/configure`: a key has one endpoint per mode, so sending it twice is harmless."""
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
    """`webhooks/send_test_event`; never retried: each request delivers an event."""
    return _request(
        "webhooks/send_test_event",
        SentTestEvent,
        RetrySafety.NEVER,
        eventType=require_text(event_type, "event_type"),
        mode=webhook_mode(mode),
        apiKeyId=optional_text(api_key_id, "api_key_id"),
        samplePayload=require_json_object(sample_payload, "sample_payload"),
    )


def _edge(
    offer: EdgeUpload, action: str, returns: type[T], json: Mapping[str, object] | None
) -> ApiRequest[T]:
    """Build a request of the multipart upload, which has its own token.

    Raises:
        InvalidResponse: The edge's address has a user, a query or a fragment, so that no path can
            be appended.
    """
    url = offer.edge_base_url
    if set(url) & set("?#") or "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidResponse(
            "the response of create_project has an upload address that cannot be used: it has a "
            f"user, a query or a fragment ({public_url(url)})"
        )
    return ApiRequest(
        name=f"upload {action.partition('?')[0]}",
        host=Host.EDGE,
        method="POST" if json is not None else "PUT",
        path=f"{url.rstrip('/')}/v1/uploads/{action}",
        json=json,
        returns=returns,
        retry_safety=RetrySafety.IDEMPOTENT,
        bearer=offer.upload_token,
    )


def start_upload(offer: EdgeUpload) -> ApiRequest[MultipartStarted]:
    """`start`; a second request opens another multipart upload, which is never completed."""
    return _edge(offer, "start", MultipartStarted, {})


def put_part(offer: EdgeUpload, upload_id: str, number: int) -> ApiRequest[PartAck]:
    """`parts/{n}`, from 1: a part sent again replaces the earlier one."""
    return _edge(offer, f"parts/{number}?uploadId={quote(upload_id, safe='')}", PartAck, None)


def complete_upload(
    offer: EdgeUpload, upload_id: str, etags: Sequence[str]
) -> ApiRequest[EmptyResponse]:
    """`complete`, with the parts' etags in order."""
    parts = [{"partNumber": n, "etag": etag} for n, etag in enumerate(etags, 1)]
    return _edge(offer, "complete", EmptyResponse, {"uploadId": upload_id, "parts": parts})


def abort_upload(offer: EdgeUpload, upload_id: str) -> ApiRequest[EmptyResponse]:
    """`abort`: releases a partial upload."""
    return _edge(offer, "abort", EmptyResponse, {"uploadId": upload_id})
