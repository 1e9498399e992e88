"""One function per endpoint of the edge: the multipart upload, with its own token."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from diffio_async._protocol.endpoints import ApiRequest, Host
from diffio_async._protocol.redaction import public_url
from diffio_async._protocol.retry import RetrySafety
from diffio_async.errors import InvalidResponse
from diffio_async.models.uploads import EmptyResponse, MultipartStarted, PartAck

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffio_async.models.uploads import EdgeUpload

T = TypeVar("T")


def _edge(
    offer: EdgeUpload,
    action: str,
    returns: type[T],
    replay: RetrySafety,
    json: Mapping[str, object] | None,
) -> ApiRequest[T]:
    _check_base_url(offer.edge_base_url)
    return ApiRequest(
        name=f"upload {action.partition('?')[0]}",
        host=Host.EDGE,
        method="POST" if json is not None else "PUT",
        path=f"{offer.edge_base_url.rstrip('/')}/v1/uploads/{action}",
        json=json,
        returns=returns,
        retry_safety=replay,
        bearer=offer.upload_token,
    )


def _check_base_url(url: str) -> None:
    """Check that paths can be appended to an address.

    Raises:
        InvalidResponse: It has a user, a query or a fragment.
    """
    if set(url) & set("?#") or "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidResponse(
            "create_project was answered with an upload address that cannot be used: it has a "
            f"user, a query or a fragment ({public_url(url)})"
        )


def start_upload(offer: EdgeUpload) -> ApiRequest[MultipartStarted]:
    """`start`: twice opens a second multipart upload that is never completed, which is harmless."""
    return _edge(offer, "start", MultipartStarted, RetrySafety.IDEMPOTENT, {})


def put_part(offer: EdgeUpload, upload_id: str, number: int) -> ApiRequest[PartAck]:
    """`parts/{n}`, from 1: a part sent again replaces the earlier one."""
    action = f"parts/{number}?uploadId={quote(upload_id, safe='')}"
    return _edge(offer, action, PartAck, RetrySafety.IDEMPOTENT, None)


def complete_upload(
    offer: EdgeUpload, upload_id: str, etags: Sequence[str]
) -> ApiRequest[EmptyResponse]:
    """`complete`, with the parts' etags in order."""
    parts = [{"partNumber": n, "etag": etag} for n, etag in enumerate(etags, 1)]
    body = {"uploadId": upload_id, "parts": parts}
    return _edge(offer, "complete", EmptyResponse, RetrySafety.IDEMPOTENT, body)


def abort_upload(offer: EdgeUpload, upload_id: str) -> ApiRequest[EmptyResponse]:
    """`abort`: releases a partial upload."""
    return _edge(offer, "abort", EmptyResponse, RetrySafety.IDEMPOTENT, {"uploadId": upload_id})
