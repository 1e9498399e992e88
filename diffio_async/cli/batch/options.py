"""What the user asked `diffio-async batch` for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from diffio_async._protocol.urls import allows_insecure_http
from diffio_async._storage.local_paths import local_path
from diffio_async._text import shell_line
from diffio_async.batch.context import Plan
from diffio_async.batch.journal import DEFAULT_JOURNAL
from diffio_async.batch.records import absolute
from diffio_async.batch.restore_many import BatchRequest
from diffio_async.batch.service import SANDBOX, service_of
from diffio_async.batch.settings import JobSettings
from diffio_async.batch.sources import RECORDINGS
from diffio_async.cli.pipes import DASH
from diffio_async.errors import ConfigurationError
from diffio_async.models.generations import DownloadType
from diffio_async.options import DEFAULT_BASE_URL, ClientOptions, RequestOptions
from diffio_async.types import BatchConflict


@frozen(kw_only=True)
class BatchOptions:
    """The options of `batch`; `paths` is None where the journal's own files are meant."""

    paths: tuple[str, ...] | None
    output: str
    journal: str | None
    recursive: bool = True
    model: str
    kinds: tuple[DownloadType, ...]
    name: str
    jobs: int
    on_conflict: BatchConflict = "error"
    stop_on_error: bool = False
    max_spend: float | None = None
    timeout: float | None = None
    salt: str | None = None
    sandbox: bool = False
    retry: bool = False
    sampling: dict[str, object] | None = None
    params: dict[str, object] | None = None
    project_params: Mapping[str, object] | None = None

    @property
    def to(self) -> Path:
        """The folder of the results."""
        if self.output == DASH or (self.paths and DASH in self.paths):
            raise ConfigurationError(
                "a batch has no standard input or output: diffio-async restore takes - for both"
            )
        return absolute(local_path(self.output, "-o"))

    @property
    def journal_path(self) -> Path:
        """The journal."""
        return (
            self.to / DEFAULT_JOURNAL
            if self.journal is None
            else Path(local_path(self.journal, "--journal"))
        )

    @property
    def sandbox_data(self) -> Path:
        """Where the sandbox of the batch keeps what it was given and made: beside the journal."""
        return self.journal_path.with_name(self.journal_path.name + "-sandbox")

    @property
    def service(self) -> str | None:
        """The service, None where nothing names one."""
        if self.sandbox:
            return SANDBOX
        url = os.environ.get("DIFFIO_API_BASE_URL")
        if url or os.environ.get("DIFFIO_API_KEY"):
            return service_of(
                url or DEFAULT_BASE_URL, allow_insecure_http=allows_insecure_http(os.environ)
            )
        return None

    def order(self) -> BatchRequest:
        """The same in the library's words.

        Raises:
            ConfigurationError: The model cannot be one.
        """
        return BatchRequest(
            sources=self.paths,
            to=self.to,
            journal=self.journal_path,
            service=self.service,
            settings=JobSettings.validated(self.model, self.sampling, self.params),
            download_types=self.kinds,
            name=self.name,
            recursive=self.recursive,
            suffixes=RECORDINGS,
            salt=self.salt,
            retry_failed=self.retry,
            plan=Plan(
                root=self.to,
                on_conflict=self.on_conflict,
                on_error="stop" if self.stop_on_error else "continue",
                max_in_flight=self.jobs,
                max_upload_bytes=ClientOptions().max_upload_bytes,
                seconds=self.max_spend,
                timeout=self.timeout,
                project_params=self.project_params,
                options=RequestOptions(),
            ),
        )


@frozen(kw_only=True)
class Given:
    """The options of `batch retry`; what is None is as in the run before."""

    jobs: int | None = None
    on_conflict: BatchConflict | None = None
    stop_on_error: bool | None = None
    max_spend: float | None = None
    timeout: float | None = None
    sandbox: bool = False


def status_line(journal: Path) -> str:
    """The line that tells how far a batch is."""
    return shell_line(["diffio-async", "batch", "status", str(journal)])


def report_line(journal: Path) -> str:
    """The line that lists every file, and what was left out."""
    return shell_line(["diffio-async", "batch", "report", str(journal)])
