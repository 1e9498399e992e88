"""State of a sandbox: its records in memory, written through to its data folder."""

import hashlib
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from attrs import asdict, define, field

from diffio_async.sandbox.storage import Store

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


ROOT_KEY_ID = "key_sandbox"

_R = TypeVar("_R", bound=Record)


def _steady_clock() -> Callable[[], float]:
    """Return a clock in seconds since the epoch that is not affected by clock adjustments."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class State:
    """The state of one sandbox; call `save` after each change of a record."""

    def __init__(
        self, folder: Path, store: Store | None, *, clock: Callable[[], float] | None = None
    ) -> None:
        self.folder = folder
        self.now = clock or _steady_clock()
        self._store = store
        self.projects: dict[str, Project] = self._load(Project)
        self.uploads: dict[str, Upload] = self._load(Upload)
        self.generations: dict[str, Generation] = self._load(Generation)
        self.keys: dict[str, ApiKey] = self._load(ApiKey)
        self.endpoints: dict[str, Endpoint] = self._load(Endpoint)
        self.messages: dict[str, Message] = self._load(Message)
        self.account = self._load(Account).get("account") or Account(id="account")
        self.completed_uploads: set[str] = set()
        self._tables: dict[type[Record], dict[str, Any]] = {
            Project: self.projects,
            Upload: self.uploads,
            Generation: self.generations,
            ApiKey: self.keys,
            Endpoint: self.endpoints,
            Message: self.messages,
            Account: {},
        }
        self._by_project: dict[str, list[Generation]] = {}
        self._by_idempotency: dict[tuple[str, str], Generation] = {}
        self._by_token: dict[str, Project] = {}
        self._keys_by_hash: dict[str, ApiKey] = {}
        generations = sorted(self.generations.values(), key=lambda record: record.created_at)
        records: list[Record] = [*self.projects.values(), *self.keys.values(), *generations]
        for record in records:
            self._index(record)
        self.link_secret = self._persistent_secret()

    def save(self, record: Record) -> None:
        """Store a new or changed record."""
        table = self._tables[type(record)]
        if record.id not in table:
            table[record.id] = record
            self._index(record)
        if self._store is not None:
            self._store.put(type(record).__name__, record.id, asdict(record))

    def drop(self, record: Record) -> None:
        """Delete a record."""
        self._tables[type(record)].pop(record.id, None)
        if self._store is not None:
            self._store.drop(type(record).__name__, record.id)

    def project_with_token(self, upload_token: str) -> Project | None:
        """Return the project of an upload token, or None."""
        return self._by_token.get(hash_secret(upload_token))

    def generations_of(self, project_id: str) -> list[Generation]:
        """Return the generations of a project, oldest first."""
        return self._by_project.get(project_id, [])

    def generation_with_idempotency_key(
        self, key_id: str, idempotency_key: str
    ) -> Generation | None:
        """Return the generation that an API key created with an idempotency key, or None."""
        return self._by_idempotency.get((key_id, idempotency_key))

    def change_secret(self, key: ApiKey, secret: str) -> None:
        """Replace the secret of a key."""
        self._keys_by_hash.pop(key.secret_hash, None)
        key.secret_hash, key.prefix = hash_secret(secret), prefix_of(secret)
        self._index(key)
        self.save(key)

    def key_with_secret(self, secret: str) -> ApiKey | None:
        """Return the key with this secret, or None."""
        return self._keys_by_hash.get(hash_secret(secret))

    def ensure_root_key(self, secret: str) -> ApiKey:
        """Create the key that the sandbox was started with, or update its secret."""
        key = self.keys.get(ROOT_KEY_ID)
        if key is None:
            key = ApiKey(
                id=ROOT_KEY_ID,
                label="sandbox",
                secret_hash=hash_secret(secret),
                prefix=prefix_of(secret),
                role="agent",
                scopes=list(SCOPES),
                resource_bounds={},
                parent_id=None,
                created_at=self.now(),
            )
            self.save(key)
        elif key.secret_hash != hash_secret(secret):
            self.change_secret(key, secret)
        return key

    def source_path(self, project: Project) -> Path:
        """Return the path of the uploaded file of a project."""
        return self.folder / "uploads" / project.id / f"source{media_suffix(project.file_name)}"

    def part_path(self, upload: Upload, number: int) -> Path:
        """Return the path of a part of an upload in progress."""
        return self.folder / "parts" / upload.id / f"{number:05d}"

    def results_path(self, generation: Generation) -> Path:
        """Return the folder for the results of a generation."""
        return self.folder / "results" / generation.id

    def last_port(self, index: int) -> int:
        """Return the port of the previous run on this folder, or 0."""
        rows = () if self._store is None else self._store.all("port")
        return next((int(row["port"]) for row in rows if row["place"] == index), 0)

    def remember_port(self, index: int, port: int) -> None:
        """Store a port for the next run on this folder."""
        if self._store is not None:
            self._store.put("port", str(index), {"place": index, "port": port})

    def _index(self, record: Record) -> None:
        match record:
            case Project():
                self._by_token[record.token_hash] = record
            case ApiKey():
                self._keys_by_hash[record.secret_hash] = record
            case Generation():
                self._by_project.setdefault(record.project_id, []).append(record)
                if record.idempotency_key is not None:
                    self._by_idempotency[record.key_id, record.idempotency_key] = record

    def _load(self, record_class: type[_R]) -> dict[str, _R]:
        if self._store is None:
            return {}
        return {row["id"]: record_class(**row) for row in self._store.all(record_class.__name__)}

    def _persistent_secret(self) -> bytes:
        # Links issued before a restart remain valid.
        if self._store is None:
            return secrets.token_bytes(32)
        for row in self._store.all("link_secret"):
            return bytes.fromhex(row["hex"])
        secret = secrets.token_bytes(32)
        self._store.put("link_secret", "links", {"hex": secret.hex()})
        return secret


def prefix_of(secret: str) -> str:
    """Return a prefix of a secret that identifies the key."""
    return secret[: min(12, len(secret) // 2)]


_MEDIA_SUFFIXES = frozenset(
    f".{name}"
    for name in (  # noqa: SIM905 - more readable than a list
        "3g2 3ga 3gp 3gp2 3gpp aa3 aac ac3 adts aif aifc aiff amr amv ape asf au avi awb bwf caf "
        "dif divx dsf dts dtshd dv dvr-ms eac3 ec3 evo f4v flac flv g722 gsm ircam isma ismv latm "
        "loas m1a m2a m2p m2t m2ts m2v m4a m4b m4p m4r m4v mj2 mk3d mka mkv mlp mod mogg mov mp1 "
        "mp2 mp3 mp4 mp4v mpa mpc mpe mpeg mpg mpga mts mxf nist nut oga ogg ogm ogv ogx oma opus "
        "qt qta ra rf64 rm rmvb snd sox sph spx tak thd tod tp trp truehd ts tta vob voc vro w64 "
        "wav wave weba webm wm wma wmv wtv wv xvid xwma"
    ).split()
)


def media_suffix(file_name: str) -> str:
    """Return the suffix of a media file, or "" for any other.

    The suffix of a playlist could make FFmpeg open the files that it lists.
    """
    suffix = Path(file_name).suffix.lower()
    return suffix if suffix in _MEDIA_SUFFIXES else ""
