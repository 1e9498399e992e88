"""The door to batches: `client.restore_many(…)`."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from attrs import evolve, frozen

from diffio_async._http.callbacks import call_progress_callback
from diffio_async._http.error_context import concerning_many
from diffio_async._polling.poller import Poller
from diffio_async._protocol.endpoints import create_project, normalize_download_type
from diffio_async._protocol.several import several
from diffio_async._storage.local_paths import is_encodable, local_path
from diffio_async._storage.system_errors import reason_of, shortage_of
from diffio_async._storage.threads import TrackedExecutor, wait_uncancelled
from diffio_async._validators import displayed, is_number
from diffio_async.batch.congestion import CongestionControl
from diffio_async.batch.context import Plan, RunContext
from diffio_async.batch.file_queries import requeue_failed
from diffio_async.batch.job_queries import uploads_dropped
from diffio_async.batch.journal import DEFAULT_JOURNAL, Journal
from diffio_async.batch.journal_queries import (
    last_seq,
    left_out_after,
    left_out_counts,
    outcomes_after,
    remaining,
    unfinished,
)
from diffio_async.batch.listing import Listing
from diffio_async.batch.naming import DEFAULT_NAME, Naming, is_case_insensitive
from diffio_async.batch.progress import ProgressCounter
from diffio_async.batch.records import absolute
from diffio_async.batch.results import Results
from diffio_async.batch.scheduler import Run
from diffio_async.batch.service import SANDBOX, account_of, bind_account, service_of
from diffio_async.batch.settings import JobSettings, JournalIdentity, RunOptions
from diffio_async.batch.sources import RECORDINGS, Scan, check_sources, in_words
from diffio_async.errors import BatchStopped, ConfigurationError, DatabaseError, DiffioError
from diffio_async.models.batches import DEFAULT_IN_FLIGHT, BatchProgress, FileOutcome, LeftOut
from diffio_async.models.generations import DEFAULT_MODEL, DownloadType
from diffio_async.options import ClientOptions, RequestOptions, resolve_options, validate_wait
from diffio_async.resources.account import AsyncAccounts
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.resources.projects import AsyncProjects
from diffio_async.types import BatchConflict, Callback, OnError, Sources

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from diffio_async.models.batches import BatchProgress, FileOutcome, LeftOut
    from diffio_async.options import ClientOptions
    from diffio_async.resources.account import AsyncAccounts
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects
    from diffio_async.types import Callback

log = logging.getLogger("diffio_async")

#: Ends that are read from the journal at once.
_PAGE = 200
#: Seconds between two looks at what other runs ended, and between two reports of progress.
_POLL_SECONDS, _REPORT_SECONDS = 1.0, 0.25
#: Seconds for which ends gather, to be read at once.
_BATCH_WINDOW = 0.05
#: More than any service takes at once, and less than SQLite's largest integer.
_MAX_IN_FLIGHT = 1_000_000


@frozen(kw_only=True)
class BatchRequest:
    """What the user asked for; `AsyncDiffio.restore_many` has the words."""

    sources: Sources | None
    to: Path
    journal: Path
    service: str | None
    settings: JobSettings
    download_types: tuple[str, ...]
    name: str
    recursive: bool
    suffixes: frozenset[str]
    salt: str | None
    retry_failed: bool
    plan: Plan

    @property
    def identity(self) -> JournalIdentity:
        """What the journal is bound to."""
        return JournalIdentity(
            model=self.settings.model,
            sampling=self.settings.sampling,
            params=self.settings.params,
            to=str(self.to),
            name=self.name,
        )

    @property
    def run_options(self) -> RunOptions:
        """What later commands of the journal take over."""
        plan = self.plan
        return RunOptions(
            on_conflict=plan.on_conflict,
            on_error=plan.on_error,
            max_in_flight=plan.max_in_flight,
            max_spend_seconds=plan.seconds,
            timeout=plan.timeout,
            project_params=plan.project_params,
        )

    async def enter(self, journal: Journal) -> None:
        """Take part in the batch of `journal`.

        Raises:
            ConfigurationError: It is of another batch or service, or has another salt.
        """
        await journal.register(
            self.identity, self.salt, service=self.service, options=self.run_options
        )

    def check(self) -> None:
        """Find out what is wrong before anything is done.

        Raises:
            ConfigurationError: An argument cannot be right.
        """
        Naming(self.name, self.to).check()
        check_sources(self.sources)
        for word, words in ((self.plan.on_conflict, BatchConflict), (self.plan.on_error, OnError)):
            if word not in get_args(words):
                raise ConfigurationError(f"{word!r} must be one of {', '.join(get_args(words))}")
        if not self.download_types:
            raise ConfigurationError("name at least one download type")
        _check_numbers(self.plan.max_in_flight, self.plan.seconds)
        if self.salt is not None:
            _check_salt(self.salt)
        create_project(
            file_name="-", content_type="", content_length=0, params=self.plan.project_params
        )
        validate_wait(None, self.plan.timeout)


def _check_numbers(max_in_flight: object, max_spend_seconds: object) -> None:
    whole = isinstance(max_in_flight, int) and not isinstance(max_in_flight, bool)
    if not (whole and is_number(max_in_flight) and 1 <= max_in_flight <= _MAX_IN_FLIGHT):
        raise ConfigurationError(
            f"max_in_flight must be a whole number from 1 to {_MAX_IN_FLIGHT:,}, not "
            f"{displayed(max_in_flight)}"
        )
    # Infinity is no limit; NaN would be none too, and nobody can mean that.
    unlimited = max_spend_seconds is None or max_spend_seconds == math.inf
    if not (unlimited or (is_number(max_spend_seconds) and max_spend_seconds >= 0)):
        raise ConfigurationError(
            f"max_spend_seconds must be 0 or more seconds, not {displayed(max_spend_seconds)}"
        )


def _check_salt(salt: object) -> None:
    if not isinstance(salt, str):
        raise ConfigurationError(f"the salt must be text, not {displayed(salt)}")
    if not salt.strip():
        raise ConfigurationError("the salt is empty: leave it out to have one made")
    if not is_encodable(salt):
        raise ConfigurationError(f"the salt {salt!r} is not valid text: choose another one")


def wire_download_types(download_types: object) -> tuple[str, ...]:
    """The API's words for download types, each once.

    Raises:
        ConfigurationError: One is none.
    """
    kinds = several(download_types, "download_types")
    return tuple(dict.fromkeys(normalize_download_type(kind) for kind in kinds))


async def restore_many(
    projects: AsyncProjects,
    generations: AsyncGenerations,
    accounts: AsyncAccounts,
    order: BatchRequest,
    options: ClientOptions,
    *,
    on_progress: Callback[BatchProgress] | None,
    on_left_out: Callback[LeftOut] | None,
) -> AsyncGenerator[FileOutcome, None]:
    """See `AsyncDiffio.restore_many`."""
    weather = CongestionControl()
    retry = weather.observed(resolve_options(options, order.plan.options).retry)
    limit = options.wait.timeout if order.plan.timeout is None else order.plan.timeout
    plan = evolve(
        order.plan,
        timeout=limit,
        options=evolve(order.plan.options, retry=retry),
        max_upload_bytes=options.max_upload_bytes,
        free=order.service == SANDBOX,
    )
    journal = await _open_journal(order)
    desk = RunContext(journal, projects, generations, plan, weather)
    try:
        try:
            await list_files(order, journal)
        except Exception as failure:
            if isinstance(failure, DatabaseError) or shortage_of(failure) is None:
                raise
            raise _listing_stopped(journal, failure) from failure
        if plan.free:
            # Nobody else uses this sandbox, and its ports are new ones.
            await journal.write(uploads_dropped)
        await _tell_left_out(journal, on_left_out)
        if await journal.read(unfinished, fetching=True):
            # Nothing is asked where nothing is left to be done.
            account = await account_of(accounts, order.plan.options)
            if account is not None:
                await journal.write(bind_account, journal.path, account, journal.run_id)
        outcomes = _outcomes(desk, on_progress)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome
        if desk.stopped is not None or desk.pending_downloads is not None:
            raise await _stopped(desk)
    finally:
        closing = asyncio.ensure_future(journal.close())
        await wait_uncancelled(closing)
        closing.result()


async def _open_journal(order: BatchRequest) -> Journal:
    def make() -> None:
        try:
            order.to.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as failure:
            raise ConfigurationError(
                f"the folder {str(order.to)!r} cannot be made: {reason_of(failure)}"
            ) from failure

    await TrackedExecutor().run(make)
    journal = await Journal.open(order.journal)
    try:
        await order.enter(journal)
    except BaseException:
        closing = asyncio.ensure_future(journal.close())
        await wait_uncancelled(closing)
        raise
    return journal


async def list_files(order: BatchRequest, journal: Journal) -> None:
    """Write down what is new, and open what failed."""
    if order.sources is not None:
        await journal.acquire_listing_lock()
        naming = Naming(
            order.name, order.to, await TrackedExecutor().run(is_case_insensitive, order.to)
        )
        scan = Scan(
            recursive=order.recursive,
            suffixes=order.suffixes,
            is_result=Results(naming, order.suffixes).is_result,
            excluded_dir=order.to,
            journal=order.journal,
        )
        await Listing(scan, naming, order.settings, order.download_types).run(
            order.sources, journal
        )
        await journal.release_listing_lock()
    await journal.write(requeue_failed, billed=order.retry_failed)


async def _tell_left_out(journal: Journal, on_left_out: Callback[LeftOut] | None) -> None:
    counted = await journal.read(left_out_counts)
    if counted:
        log.info("left out while listing: %s", in_words(counted))
    last, failed = 0, False
    while on_left_out is not None and (page := await journal.read(left_out_after, last, _PAGE)):
        for last, each in page:  # noqa: B007 - where the next page begins
            returned = await call_progress_callback(on_left_out, each, log_failure=not failed)
            failed |= not returned


async def _outcomes(
    desk: RunContext, on_progress: Callback[BatchProgress] | None
) -> AsyncGenerator[FileOutcome, None]:
    """Run, and read the ends from the journal as they come: this run's, others', earlier ones."""
    journal = desk.journal
    before, seen = await journal.read(last_seq), 0
    counting = await ProgressCounter.of(desk)
    running = asyncio.create_task(Run(desk).run())
    running.add_done_callback(lambda _: desk.notify_all())
    told_at, failed = 0.0, False
    try:
        with concerning_many(desk.running.items):
            while True:
                over, told = running.done(), desk.ended.version
                page = await journal.read(outcomes_after, seen, _PAGE, before)
                for number, outcome in page:
                    seen = number
                    counting.ended(outcome)
                    yield outcome
                now = time.monotonic()
                if on_progress is not None and (now - told_at >= _REPORT_SECONDS or over):
                    told_at = now
                    progress = counting.progress()
                    failed |= not await call_progress_callback(
                        on_progress, progress, log_failure=not failed
                    )
                if page:
                    continue
                if over:
                    break
                await desk.ended.wait(
                    told, _REPORT_SECONDS if on_progress is not None else _POLL_SECONDS
                )
                if not running.done():
                    await asyncio.sleep(_BATCH_WINDOW)
            try:
                running.result()
            except Exception as failure:
                if isinstance(failure, DiffioError) or shortage_of(failure) is None:
                    raise
                desk.stop(failure)
    finally:
        running.cancel()
        await wait_uncancelled(running)


def _listing_stopped(journal: Journal, failure: Exception) -> BatchStopped:
    """The error where the process is short of something before anything is sent."""
    shortage = shortage_of(failure)
    error = BatchStopped(
        f"the listing of the files stopped: {shortage.text if shortage else failure}. Nothing was "
        f"sent: correct it and run the same again, with the journal {journal.path!r}"
    )
    error.journal = journal.path
    return error


async def _stopped(desk: RunContext) -> BatchStopped:
    waiting = await desk.journal.read(remaining)
    why = desk.stopped if desk.stopped is not None else desk.pending_downloads
    words = reason_of(why) if isinstance(why, Exception) else str(why)
    error = BatchStopped(
        f"the batch stopped: {words.rstrip('.')}. {waiting} of its files have no end yet; "
        "nothing is lost: correct it and run the same again, with the journal "
        f"{desk.journal.path!r}"
    )
    error.journal, error.remaining_files = desk.journal.path, waiting
    if isinstance(why, Exception):
        error.__cause__ = why
    return error


#: So many generations in flight have the client's whole budget of questions, and so many times that
#: is the most, however many there are: what takes longer need not be asked about as often.
_AT_A_TIME, _WIDEST = 10, 20


class AsyncBatches:
    """Restores many recordings, each paid for once: call it."""

    def __init__(
        self,
        projects: AsyncProjects,
        generations: AsyncGenerations,
        accounts: AsyncAccounts,
        pacer: Poller,
        options: ClientOptions,
        *,
        base_url: str,
    ) -> None:
        self._projects = projects
        self._generations = generations
        self._accounts = accounts
        self._base_url = base_url
        self._pacer = pacer
        self._options = options

    async def __call__(
        self,
        sources: Sources | None,
        to: str | os.PathLike[str],
        *,
        journal: str | os.PathLike[str] | None = None,
        model: str = DEFAULT_MODEL,
        download_types: Iterable[DownloadType] = ("audio",),
        name: str = DEFAULT_NAME,
        recursive: bool = True,
        suffixes: Iterable[str] = RECORDINGS,
        sampling: Mapping[str, object] | None = None,
        project_params: Mapping[str, object] | None = None,
        generation_params: Mapping[str, object] | None = None,
        max_in_flight: int = DEFAULT_IN_FLIGHT,
        on_conflict: BatchConflict = "error",
        on_error: OnError = "continue",
        max_spend_seconds: float | None = None,
        retry_failed: bool = False,
        salt: str | None = None,
        timeout: float | None = None,
        on_progress: Callback[BatchProgress] | None = None,
        on_left_out: Callback[LeftOut] | None = None,
        options: RequestOptions | None = None,
    ) -> AsyncGenerator[FileOutcome, None]:
        """Restore many recordings, each paid for once, whatever happens on the way.

        All is written down in a journal before the first upload, and each step before the next.
        Run it again after a crash, a stop or a break out of the loop, and it goes on. Files of
        the same content share one generation; several processes with one journal share the work.

        Args:
            sources: Files, folders, globs, manifests (`.csv`, `.jsonl`) or `BatchItem`s: one, an
                iterable, or an async iterable. None works on what the journal lists already.
            to: The folder of the results, made if missing; sub-folders of sources are kept.
            journal: The journal, on a local disk; `.diffio-batch.sqlite` in `to` where None.
            model: `diffio-` and a name; a manifest may name another for a file.
            download_types: What is fetched of each: `audio`, `video`, `transcript`.
            name: The results' names: `{stem}`, `{name}`, `{type}`, `{ext}`, and `{parent}` for the
                name of the folder that the source lies in.
            recursive: Whether folders in folders are read.
            suffixes: The endings by which recordings are known in folders, such as `.wav`.
            sampling: The model's settings.
            project_params: Your own words about the projects.
            generation_params: Your own words about the generations.
            max_in_flight: Files uploaded or generated at once.
            on_conflict: `error`, `overwrite` or `skip`, where a result's name is taken.
            on_error: `continue`, or `stop`: after a failure begin nothing new.
            max_spend_seconds: Begin nothing new where all generations of the journal would bill
                more seconds than these: 60 are counted for each, the least it can be.
            retry_failed: Start failed generations anew, which bills them anew.
            salt: Makes the idempotency keys: with the same one, another machine's batch is not
                billed again for the same content. Made anew with the journal where None.
            timeout: Seconds each generation is waited for; None is the client's.
            on_progress: Told a few times a second.
            on_left_out: Called before the first upload, for each name that was found and is not
                restored: results, hidden names, other types, links to folders, and so on.
            options: Options of every request.

        Yields:
            What became of each file, in the order they end; first those that ended in earlier
            runs. A file that fails does not stop the others.

        Raises:
            ConfigurationError: Before anything is sent: an argument is wrong, a source names
                nothing, two results would have one name, or the journal is of another batch,
                service or account.
            BatchStopped: The key or the account was refused, the disk is full, the limit is
                reached, or a file failed and `on_error` is `stop`: what ran has ended.
            DatabaseError: The journal cannot be used.
        """
        folder = absolute(local_path(to, "the folder of the results"))
        order = BatchRequest(
            sources=sources,
            to=folder,
            journal=folder / DEFAULT_JOURNAL
            if journal is None
            else Path(local_path(journal, "the journal")),
            service=service_of(
                self._base_url, allow_insecure_http=self._options.allow_insecure_http
            ),
            settings=JobSettings.validated(model, sampling, generation_params),
            download_types=wire_download_types(download_types),
            name=name,
            recursive=recursive,
            suffixes=frozenset(
                f".{suffix.lower().removeprefix('.')}" for suffix in several(suffixes, "suffixes")
            ),
            salt=salt,
            retry_failed=retry_failed,
            plan=Plan(
                root=folder,
                on_conflict=on_conflict,
                on_error=on_error,
                max_in_flight=max_in_flight,
                max_upload_bytes=self._options.max_upload_bytes,
                seconds=max_spend_seconds,
                timeout=timeout,
                project_params=project_params,
                options=options or RequestOptions(),
            ),
        )
        outcomes = self._run(order, on_progress=on_progress, on_left_out=on_left_out)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def _run(
        self,
        order: BatchRequest,
        *,
        on_progress: Callback[BatchProgress] | None = None,
        on_left_out: Callback[LeftOut] | None = None,
    ) -> AsyncGenerator[FileOutcome, None]:
        """Do what `order` says; `__call__` has the words."""
        order.check()
        outcomes = restore_many(
            self._projects,
            self._generations,
            self._accounts,
            order,
            self._options,
            on_progress=on_progress,
            on_left_out=on_left_out,
        )
        # A budget is meant for a few waits: here it is for each ten that can be in flight.
        with self._pacer.multiplied_rate_limit(min(_WIDEST, order.plan.max_in_flight / _AT_A_TIME)):
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    yield outcome
