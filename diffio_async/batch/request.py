"""Request of a batch: validated arguments, settings of jobs, and the identity of the journal."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import asdict, field, fields, frozen

from diffio_async._protocol.endpoints import (
    create_generation,
    create_project,
    normalize_download_type,
)
from diffio_async._store_url import Place, StoreUrl, location_of
from diffio_async._validators import (
    Rule,
    displayed,
    int_between,
    is_encodable,
    local_path,
    one_of,
    optional_unlimited,
    several,
    validate_wait,
)
from diffio_async.batch.naming import Naming
from diffio_async.batch.restart import Mark
from diffio_async.batch.schema import DEFAULT_JOURNAL, absolute
from diffio_async.batch.sources import RECORDINGS, check_sources
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import DEFAULT_IN_FLIGHT, DEFAULT_NAME
from diffio_async.models.generations import DEFAULT_MODEL
from diffio_async.options import ClientOptions, RequestOptions
from diffio_async.types import BatchConflict, BatchExecutor, OnError, Sources

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

#: More than a service accepts concurrently, and less than SQLite's largest integer.
_MAX_IN_FLIGHT = 1_000_000


@frozen
class JobSettings:
    """Model and settings of a job, in the canonical form that the journal compares."""

    model: str
    sampling: str = "{}"
    params: str = "{}"

    @classmethod
    def validated(
        cls,
        model: str,
        sampling: Mapping[str, object] | None,
        params: Mapping[str, object] | None,
    ) -> JobSettings:
        """Validate and canonicalize the settings.

        Raises:
            ConfigurationError: The model is invalid, or the settings are not JSON.
        """
        create_generation(
            api_project_id="not yet known", model=model, key="-", sampling=sampling, params=params
        )
        return JobSettings(model, _canonical(sampling), _canonical(params))

    @property
    def text(self) -> str:
        """Sampling and params, as the journal stores them."""
        return f'{{"params":{self.params},"sampling":{self.sampling}}}'


def _canonical(value: Mapping[str, object] | None) -> str:
    """Return the canonical JSON of an object; None and `{}` are equal."""
    return json.dumps(value or {}, sort_keys=True, separators=(",", ":"), allow_nan=False)


def load_settings(text: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return sampling and params from their text in the journal."""
    found = json.loads(text)
    return found["sampling"], found["params"]


def idempotency_key_for(salt: str, digest: str, model: str, settings: str, attempt: int) -> str:
    """Return the idempotency key, which is equal for equal content, settings and salt."""
    text = json.dumps([salt, digest, model, settings, attempt])
    return f"batch-{hashlib.sha256(text.encode()).hexdigest()}"


@frozen(kw_only=True)
class JournalIdentity(JobSettings):
    """Settings that all runs of a journal share; `to` is the folder of the results."""

    to: str
    name: str

    def check(self, recorded: JournalIdentity, journal: str) -> None:
        """Compare with the identity recorded in a journal.

        Raises:
            ConfigurationError: They differ; the message has the differences.
        """
        differences = [
            f"{each.name} is {getattr(self, each.name)!r} here and "
            f"{getattr(recorded, each.name)!r} there"
            for each in fields(JournalIdentity)
            if getattr(self, each.name) != getattr(recorded, each.name)
        ]
        if differences:
            raise ConfigurationError(
                f"the journal {journal!r} belongs to another batch: {'; '.join(differences)}. "
                "Use the same settings to resume it, or another journal for another batch"
            )


@frozen(kw_only=True)
class RunOptions:
    """Options of a run that later commands of the same journal reuse; times in seconds.

    Options that may contain a secret (headers, a key) are not stored.

    Attributes:
        max_spend_seconds: Limit of the minimum cost of all generations of the journal.
        timeout: Limit of each wait; None for the client's.
    """

    on_conflict: BatchConflict = "error"
    on_error: OnError = "continue"
    max_in_flight: int = DEFAULT_IN_FLIGHT
    max_spend_seconds: float | None = None
    timeout: float | None = None
    project_params: Mapping[str, object] | None = None

    @property
    def text(self) -> str:
        """The options, as the journal stores them."""
        return json.dumps({each.name: getattr(self, each.name) for each in fields(RunOptions)})

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the options from their text in the journal, without unknown ones."""
        found = json.loads(text)
        return cls(**{each.name: found[each.name] for each in fields(cls) if each.name in found})


@frozen(kw_only=True)
class Plan(RunOptions):
    """How the files of a run are restored.

    Attributes:
        root: The folder of the results.
        unbilled: Whether the service bills nothing (the sandbox).
    """

    root: Place
    max_upload_bytes: int = field(default=fields(ClientOptions).max_upload_bytes.default)
    options: RequestOptions = field(factory=RequestOptions)
    unbilled: bool = False


@frozen(kw_only=True)
class BatchRequest:
    """Arguments of `AsyncDiffio.restore_many`, which documents them.

    `marks`: files that have ended and are restored again. `executor`: what moves the bytes, None
    for this process.
    """

    sources: Sources | None
    identity: JournalIdentity
    journal: Path
    service: str | None
    download_types: tuple[str, ...]
    recursive: bool
    suffixes: frozenset[str] | None
    salt: str | None
    retry_failed: bool
    plan: Plan
    marks: tuple[Mark, ...] = ()
    executor: BatchExecutor | None = None

    @classmethod
    def create(
        cls,
        sources: Sources | None,
        to: str | os.PathLike[str],
        *,
        service: str | None,
        journal: str | os.PathLike[str] | None = None,
        model: str = DEFAULT_MODEL,
        download_types: Iterable[str] = ("audio",),
        name: str = DEFAULT_NAME,
        recursive: bool = True,
        suffixes: Iterable[str] | None = RECORDINGS,
        sampling: Mapping[str, object] | None = None,
        generation_params: Mapping[str, object] | None = None,
        salt: str | None = None,
        retry_failed: bool = False,
        options: RequestOptions | None = None,
        marks: Iterable[Mark] = (),
        executor: BatchExecutor | None = None,
        run: RunOptions,
    ) -> Self:
        """Normalize the arguments; `check` validates what this does not.

        Raises:
            ConfigurationError: A path, the model, a setting or a download type is invalid.
        """
        location = location_of(to, "the folder of the results")
        folder: Place = location.as_folder if isinstance(location, StoreUrl) else absolute(location)
        path = _journal_path(folder, journal)
        settings = JobSettings.validated(model, sampling, generation_params)
        types = [
            normalize_download_type(each) for each in several(download_types, "download_types")
        ]
        return cls(
            sources=sources,
            identity=JournalIdentity(**asdict(settings), to=str(folder), name=name),
            journal=path,
            service=service,
            download_types=tuple(dict.fromkeys(types)),
            recursive=recursive,
            suffixes=None
            if suffixes is None
            else frozenset(
                f".{suffix.lower().removeprefix('.')}" for suffix in several(suffixes, "suffixes")
            ),
            salt=salt,
            retry_failed=retry_failed,
            marks=tuple(marks),
            executor=executor,
            plan=Plan(
                **asdict(run, recurse=False), root=folder, options=options or RequestOptions()
            ),
        )

    def check(self) -> None:
        """Validate the arguments.

        Raises:
            ConfigurationError: An argument is invalid.
        """
        plan = self.plan
        Naming(self.identity.name, plan.root).check()
        check_sources(self.sources)
        one_of(BatchConflict).check("on_conflict", plan.on_conflict)
        one_of(OnError).check("on_error", plan.on_error)
        if not self.download_types:
            raise ConfigurationError("name at least one download type")
        int_between(1, _MAX_IN_FLIGHT).check("max_in_flight", plan.max_in_flight)
        optional_unlimited.check("max_spend_seconds", plan.max_spend_seconds)
        if self.salt is not None:
            _check_salt(self.salt)
        _executor.check("executor", self.executor)
        create_project(file_name="-", content_type="", content_length=0, params=plan.project_params)
        validate_wait(None, plan.timeout)

    def new_salt(self) -> str:
        """Return the salt of a new journal.

        Raises:
            ConfigurationError: A batch on a cluster has none.
        """
        if self.salt is None and self.executor is not None:
            raise ConfigurationError(
                "a batch on a cluster needs a salt (--salt), the same for each run: if the journal "
                "is lost with its disk, the same files are not billed again"
            )
        return secrets.token_hex(16) if self.salt is None else self.salt


def _journal_path(folder: Place, journal: str | os.PathLike[str] | None) -> Path:
    """Return the path of the journal.

    Raises:
        ConfigurationError: It is a URL, or is not given and the results go to a URL.
    """
    if journal is not None:
        return Path(local_path(journal, "the journal"))
    if isinstance(folder, StoreUrl):
        raise ConfigurationError(
            f"the results go to {folder}, and the journal must be a file of this machine, by "
            "which the batch resumes: name it with journal='batch.sqlite' (--journal FILE)"
        )
    return folder / DEFAULT_JOURNAL


_executor = Rule(
    "an executor, such as DaskExecutor('tcp://127.0.0.1:8786') of diffio_async.dask",
    lambda v: v is None or (isinstance(v, BatchExecutor) and not isinstance(v, type)),
)


def _check_salt(salt: object) -> None:
    if not isinstance(salt, str):
        raise ConfigurationError(f"the salt must be text, not {displayed(salt)}")
    if not salt.strip():
        raise ConfigurationError("the salt is empty: leave it out to generate one")
    if not is_encodable(salt):
        raise ConfigurationError(f"the salt {salt!r} is not valid text: choose another one")
