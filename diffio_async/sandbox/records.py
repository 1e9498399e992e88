"""Records of the sandbox, with JSON values only; times are seconds since the epoch."""

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
    """Return a new random id with a prefix for its type."""
    return f"{prefix}_{secrets.token_hex(10)}"


def hash_secret(secret: str) -> str:
    """Return the digest of a random secret, which is stored in place of the secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def iso(at: float | None) -> str | None:
    """Return a time in the format of the API (ISO 8601, UTC, milliseconds)."""
    if at is None:
        return None
    stamp = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return stamp.replace("+00:00", "Z")


@define(kw_only=True)
class Project:
    """One recording, from the creation of its upload offer."""

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
    """A received part of a multipart upload."""

    etag: str
    size: int


def _parts(rows: dict[Any, Any]) -> dict[int, Part]:
    # JSON stores the numbers as strings and the parts as objects: convert them back.
    return {
        int(number): part if isinstance(part, Part) else Part(**part)
        for number, part in rows.items()
    }


@define(kw_only=True)
class Upload:
    """A multipart upload in progress; deleted when it is completed or aborted."""

    id: str
    project_id: str
    part_size: int
    created_at: float
    parts: dict[int, Part] = field(factory=dict, converter=_parts)


@define(kw_only=True)
class Generation:
    """A restoration of a project; `files` maps download types to file metadata."""

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
        """Whether the status is final."""
        return self.status in ("complete", "failed")


@define(kw_only=True)
class ApiKey:
    """An API key, with the digest of its secret."""

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
    """A webhook endpoint: where the events of one key and mode are delivered."""

    id: str
    key_id: str
    mode: str
    url: str
    event_types: list[str]
    secret: str
    updated_by: str


@define(kw_only=True)
class Message:
    """An undelivered event for one endpoint."""

    id: str
    endpoint_id: str
    event_type: str
    body: str
    attempt: int = 0
    due_at: float = 0.0
    # Duplicates to deliver after one was accepted.
    copies: int = 0


@define(kw_only=True)
class Account:
    """The only account of a sandbox."""

    id: str
    billing_mode: str = "sandbox"
    billing_status: str = "active"
    billing_policy: dict[str, Any] = field(factory=lambda: {"type": "payAsYouGo"})
    currency: str = "usd"
    updated_at: float | None = None


Record = Project | Upload | Generation | ApiKey | Endpoint | Message | Account
