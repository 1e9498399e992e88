"""Everything the sandbox knows, in memory, written through to its folder."""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import asdict

from diffio_async.sandbox.records import (
    SCOPES,
    Account,
    ApiKey,
    Endpoint,
    Generation,
    Message,
    Project,
    Record,
    Upload,
    hashed,
)
from diffio_async.sandbox.store import Store

ROOT_KEY_ID = "key_sandbox"

_R = TypeVar("_R", bound=Record)


def _steady() -> Callable[[], float]:
    """Return a clock of seconds since the epoch that setting the time of day does not change."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


class State:
    """The state of one sandbox; every change of a record is followed by `save`."""

    def __init__(
        self, folder: Path, store: Store | None, *, clock: Callable[[], float] | None = None
    ) -> None:
        self.folder = folder
        self.now = clock or _steady()
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
        for generation in sorted(self.generations.values(), key=lambda one: one.created_at):
            self._index(generation)
        self._by_token = {one.token_hash: one for one in self.projects.values()}
        self._keys_by_hash = {key.secret_hash: key for key in self.keys.values()}
        self.link_secret = self._persistent_secret()

    def save(self, record: Record) -> None:
        """Remember a record, new or changed."""
        self._tables[type(record)][record.id] = record
        if self._store is not None:
            self._store.put(type(record).__name__, record.id, asdict(record))

    def drop(self, record: Record) -> None:
        """Forget a record."""
        self._tables[type(record)].pop(record.id, None)
        if self._store is not None:
            self._store.drop(type(record).__name__, record.id)

    def add_project(self, project: Project) -> None:
        """Remember a new project and the token of its upload."""
        self._by_token[project.token_hash] = project
        self.save(project)

    def project_for(self, upload_token: str) -> Project | None:
        """Find the one project an upload token is for."""
        return self._by_token.get(hashed(upload_token))

    def add_generation(self, generation: Generation) -> None:
        """Remember a new generation and how it can be found."""
        self._index(generation)
        self.save(generation)

    def generations_of(self, project_id: str) -> list[Generation]:
        """List a project's generations, oldest first."""
        return self._by_project.get(project_id, [])

    def replay_of(self, key_id: str, idempotency_key: str) -> Generation | None:
        """Find what this API key already made under this idempotency key."""
        return self._by_idempotency.get((key_id, idempotency_key))

    def add_key(self, key: ApiKey) -> None:
        """Remember a new key."""
        self._keys_by_hash[key.secret_hash] = key
        self.save(key)

    def change_secret(self, key: ApiKey, secret: str) -> None:
        """Give a key another secret; the old one is unknown from now on."""
        self._keys_by_hash.pop(key.secret_hash, None)
        key.secret_hash, key.prefix = hashed(secret), prefix_of(secret)
        self.add_key(key)

    def key_for(self, secret: str) -> ApiKey | None:
        """Find the key that has this secret."""
        return self._keys_by_hash.get(hashed(secret))

    def ensure_root_key(self, secret: str) -> ApiKey:
        """Make the key the sandbox was started with, or adopt its new secret."""
        key = self.keys.get(ROOT_KEY_ID)
        if key is None:
            key = ApiKey(
                id=ROOT_KEY_ID,
                label="sandbox",
                secret_hash=hashed(secret),
                prefix=prefix_of(secret),
                role="agent",
                scopes=list(SCOPES),
                resource_bounds={},
                parent_id=None,
                created_at=self.now(),
            )
            self.add_key(key)
        elif key.secret_hash != hashed(secret):
            self.change_secret(key, secret)
        return key

    def source_of(self, project: Project) -> Path:
        """Where the bytes of a project lie once they have landed."""
        return self.folder / "uploads" / project.id / f"source{media_suffix(project.file_name)}"

    def part_of(self, upload: Upload, number: int) -> Path:
        """Where a part lies until its upload is completed."""
        return self.folder / "parts" / upload.id / f"{number:05d}"

    def results_of(self, generation: Generation) -> Path:
        """Where the worker leaves what it made."""
        return self.folder / "results" / generation.id

    def last_port(self, place: int) -> int:
        """Return the port of an earlier run on this folder; 0 if there was none."""
        rows = () if self._store is None else self._store.all("port")
        return next((int(row["port"]) for row in rows if row["place"] == place), 0)

    def remember_port(self, place: int, port: int) -> None:
        """Keep the port for the next run on this folder."""
        if self._store is not None:
            self._store.put("port", str(place), {"place": place, "port": port})

    def _index(self, generation: Generation) -> None:
        self._by_project.setdefault(generation.project_id, []).append(generation)
        if generation.idempotency_key is not None:
            self._by_idempotency[generation.key_id, generation.idempotency_key] = generation

    def _load(self, kind: type[_R]) -> dict[str, _R]:
        if self._store is None:
            return {}
        return {row["id"]: kind(**row) for row in self._store.all(kind.__name__)}

    def _persistent_secret(self) -> bytes:
        # Links handed out before a restart are still good after it.
        if self._store is None:
            return secrets.token_bytes(32)
        for row in self._store.all("link_secret"):
            return bytes.fromhex(row["hex"])
        secret = secrets.token_bytes(32)
        self._store.put("link_secret", "links", {"hex": secret.hex()})
        return secret


def prefix_of(secret: str) -> str:
    """Show enough of a secret to tell it from the others."""
    return secret[: min(12, len(secret) // 2)]


_MEDIA_SUFFIXES = frozenset(
    f".{name}"
    for name in (  # noqa: SIM905 - a list of words reads best as one
        "3g2 3gp aac ac3 adts aif aifc aiff amr ape asf au avi awb bwf caf divx dts dv eac3 f4v "
        "flac flv m2a m2t m2ts m2v m4a m4b m4r m4v mka mkv mov mp2 mp3 mp4 mpe mpeg mpg mpga mts "
        "mxf oga ogg ogm ogv opus qt rf64 snd spx ts tta vob w64 wav wave weba webm wma wmv wv"
    ).split()
)


def media_suffix(file_name: str) -> str:
    """Keep a media file's suffix, and no other.

    A playlist's suffix would let ffmpeg open the files it names.
    """
    suffix = Path(file_name).suffix.lower()
    return suffix if suffix in _MEDIA_SUFFIXES else ""
