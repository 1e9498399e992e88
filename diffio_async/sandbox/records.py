"""The things a sandbox remembers, as plain records of JSON values; times are epoch seconds."""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any

from attrs import define, field

SCOPES = (
    "projects:read",
    "projects:write",
    "generations:read",
    "generations:write",
    "artifacts:read",
    "account:read",
    "account:write",
    "keys:read",
    "keys:write",
    "usage:read",
    "webhooks:read",
    "webhooks:write",
)


def new_id(prefix: str) -> str:
    """Mint an id that says what it names."""
    return f"{prefix}_{secrets.token_hex(10)}"


def hashed(secret: str) -> str:
    """Digest a random secret for keeping: enough to know it again, useless to a reader."""
    return hashlib.sha256(secret.encode()).hexdigest()


def iso(at: float | None) -> str | None:
    """Spell an instant as the API does."""
    if at is None:
        return None
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


@define(kw_only=True)
class Project:
    """One recording, from the moment its upload is offered."""

    id: str
    key_id: str
    file_name: str
    content_type: str
    content_length: int | None
    params: dict[str, Any]
    session_id: str
    token_hash: str
    expires_at: float
    created_at: float
    updated_at: float
    status: str = "uploading"
    received: bool = False
    size: int = 0
    etag: str = ""
    has_video: bool = False


@define(kw_only=True)
class Part:
    """One part of a multipart upload that has arrived whole."""

    etag: str
    size: int


def _parts(rows: dict[Any, Any]) -> dict[int, Part]:
    # JSON turns the numbers into text and the parts into objects; this is the way back.
    return {
        int(number): part if isinstance(part, Part) else Part(**part)
        for number, part in rows.items()
    }


@define(kw_only=True)
class Upload:
    """A multipart upload in progress; gone once completed or aborted."""

    id: str
    project_id: str
    part_size: int
    created_at: float
    parts: dict[int, Part] = field(factory=dict, converter=_parts)


@define(kw_only=True)
class Generation:
    """One restoration of one project; `files` maps a download type to what can be fetched."""

    id: str
    project_id: str
    key_id: str
    model_key: str
    created_at: float
    updated_at: float
    sampling: dict[str, Any]
    params: dict[str, Any]
    idempotency_key: str | None = None
    status: str = "queued"
    stages: dict[str, float] = field(factory=dict)
    has_video: bool = False
    error: str | None = None
    error_details: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    transcription: str = "pending"
    restoration: dict[str, Any] | None = None
    files: dict[str, dict[str, str]] = field(factory=dict)

    @property
    def ended(self) -> bool:
        """Nothing will change any more."""
        return self.status in ("complete", "failed")


@define(kw_only=True)
class ApiKey:
    """A key: its digest, never its secret."""

    id: str
    label: str
    secret_hash: str
    prefix: str
    role: str
    scopes: list[str]
    resource_bounds: dict[str, Any]
    parent_id: str | None
    created_at: float
    status: str = "active"
    rotated_at: float | None = None
    revoked_at: float | None = None


@define(kw_only=True)
class Endpoint:
    """Where the events of one key and mode are delivered."""

    id: str
    key_id: str
    mode: str
    url: str
    event_types: list[str]
    secret: str
    updated_by: str


@define(kw_only=True)
class Message:
    """One event on its way to one endpoint."""

    id: str
    endpoint_id: str
    event_type: str
    body: str
    attempt: int = 0
    due_at: float = 0.0
    # Deliveries still to be made once one was taken.
    copies: int = 0


@define(kw_only=True)
class Account:
    """The one account of a sandbox."""

    id: str
    billing_mode: str = "sandbox"
    billing_status: str = "active"
    billing_policy: dict[str, Any] = field(factory=lambda: {"type": "payAsYouGo"})
    currency: str = "usd"
    updated_at: float | None = None


Record = Project | Upload | Generation | ApiKey | Endpoint | Message | Account
