"""Many recordings: list them, run, and tell what became of each in the order they end."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from attrs import evolve, frozen

from diffio_async._engine.concerning import concerning_many
from diffio_async._engine.reporting import report
from diffio_async._engine.system_errors import reason_of, shortage_of
from diffio_async._engine.threads import Threads, settled
from diffio_async._wire.calls import create_project, wire_download_type
from diffio_async._wire.several import several
from diffio_async.batch.journal import Journal
from diffio_async.batch.listing import Listing
from diffio_async.batch.naming import Naming, folds_names
from diffio_async.batch.plan import Desk, Plan
from diffio_async.batch.progress import Counting
from diffio_async.batch.reading import (
    ended_after,
    last_end,
    left,
    left_out_after,
    left_out_counts,
    unfinished,
)
from diffio_async.batch.reopening import reopened
from diffio_async.batch.results import Results
from diffio_async.batch.running import Run
from diffio_async.batch.service import SANDBOX, account_of, bind_account
from diffio_async.batch.settings import RunOptions, Settings, Terms
from diffio_async.batch.sources import Scan, in_words
from diffio_async.batch.weather import Weather
from diffio_async.batch.works import uploads_dropped
from diffio_async.errors import BatchStopped, ConfigurationError, DiffioError
from diffio_async.options import check_wait, merged
from diffio_async.types import BatchConflict, OnError, Sources

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
_LOOK, _TOLD = 1.0, 0.25
#: Seconds for which ends gather, to be read at once.
_GATHERED = 0.05


@frozen(kw_only=True)
class Order:
    """What the user asked for; `AsyncDiffio.restore_many` has the words."""

    sources: Sources | None
    to: Path
    journal: Path
    service: str | None
    settings: Settings
    kinds: tuple[str, ...]
    name: str
    recursive: bool
    suffixes: frozenset[str]
    salt: str | None
    retry_failed: bool
    plan: Plan

    @property
    def terms(self) -> Terms:
        """What the journal is bound to."""
        return Terms(
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
        await journal.enter(self.terms, self.salt, service=self.service, options=self.run_options)

    def check(self) -> None:
        """Find out what is wrong before anything is done.

        Raises:
            ConfigurationError: An argument cannot be right.
        """
        Naming(self.name, self.to).check()
        for word, words in ((self.plan.on_conflict, BatchConflict), (self.plan.on_error, OnError)):
            if word not in get_args(words):
                raise ConfigurationError(f"{word!r} must be one of {', '.join(get_args(words))}")
        if not self.kinds:
            raise ConfigurationError("name at least one download type")
        if self.plan.max_in_flight < 1:
            raise ConfigurationError("max_in_flight must be 1 or more")
        if self.plan.seconds is not None and self.plan.seconds < 0:
            raise ConfigurationError("max_spend_seconds must be 0 or more seconds")
        if self.salt is not None and not self.salt.strip():
            raise ConfigurationError("the salt is empty: leave it out to have one made")
        create_project(
            file_name="-", content_type="", content_length=0, params=self.plan.project_params
        )
        check_wait(None, self.plan.timeout)


def wire_kinds(download_types: object) -> tuple[str, ...]:
    """The API's words for download types, each once.

    Raises:
        ConfigurationError: One is none.
    """
    kinds = several(download_types, "download_types")
    return tuple(dict.fromkeys(wire_download_type(kind) for kind in kinds))


async def restore_many(
    projects: AsyncProjects,
    generations: AsyncGenerations,
    accounts: AsyncAccounts,
    order: Order,
    options: ClientOptions,
    *,
    on_progress: Callback[BatchProgress] | None,
    on_left_out: Callback[LeftOut] | None,
) -> AsyncGenerator[FileOutcome, None]:
    """See `AsyncDiffio.restore_many`."""
    order.check()
    weather = Weather()
    retry = weather.listening(merged(options, order.plan.options).retry)
    limit = options.wait.timeout if order.plan.timeout is None else order.plan.timeout
    plan = evolve(
        order.plan,
        timeout=limit,
        options=evolve(order.plan.options, retry=retry),
        max_upload_bytes=options.max_upload_bytes,
        free=order.service == SANDBOX,
    )
    journal = await _opened(order)
    desk = Desk(journal, projects, generations, plan, weather)
    try:
        await listed(order, journal)
        if plan.free:
            # Nobody else uses this sandbox, and its ports are new ones.
            await journal.do(uploads_dropped)
        await _tell_left_out(journal, on_left_out)
        if await journal.see(unfinished, fetching=True):
            # Nothing is asked where nothing is left to be done.
            account = await account_of(accounts, order.plan.options)
            if account is not None:
                await journal.do(bind_account, journal.path, account)
        outcomes = _outcomes(desk, on_progress)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome
        if desk.stopped is not None or desk.unfetched is not None:
            raise await _stopped(desk)
    finally:
        closing = asyncio.ensure_future(journal.close())
        await settled(closing)
        closing.result()


async def _opened(order: Order) -> Journal:
    def make() -> None:
        try:
            order.to.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as failure:
            raise ConfigurationError(
                f"the folder {str(order.to)!r} cannot be made: {reason_of(failure)}"
            ) from failure

    await Threads().run(make)
    journal = await Journal.open(order.journal)
    try:
        await order.enter(journal)
    except BaseException:
        closing = asyncio.ensure_future(journal.close())
        await settled(closing)
        raise
    return journal


async def listed(order: Order, journal: Journal) -> None:
    """Write down what is new, and open what failed."""
    if order.sources is not None:
        await journal.listing_turn()
        naming = Naming(order.name, order.to, await Threads().run(folds_names, order.to))
        scan = Scan(
            recursive=order.recursive,
            suffixes=order.suffixes,
            is_result=Results(naming, order.suffixes).is_result,
            beyond=order.to,
            journal=order.journal,
        )
        await Listing(scan, naming, order.settings, order.kinds).run(order.sources, journal)
        await journal.listed()
    await journal.do(reopened, billed=order.retry_failed)


async def _tell_left_out(journal: Journal, on_left_out: Callback[LeftOut] | None) -> None:
    counted = await journal.see(left_out_counts)
    if counted:
        log.info("left out while listing: %s", in_words(counted))
    last = 0
    while on_left_out is not None and (page := await journal.see(left_out_after, last, _PAGE)):
        for last, each in page:  # noqa: B007 - where the next page begins
            await report(on_left_out, each)


async def _outcomes(
    desk: Desk, on_progress: Callback[BatchProgress] | None
) -> AsyncGenerator[FileOutcome, None]:
    """Run, and read the ends from the journal as they come: this run's, others', earlier ones."""
    journal = desk.journal
    before, seen = await journal.see(last_end), 0
    counting = await Counting.of(desk)
    running = asyncio.create_task(Run(desk).run())
    running.add_done_callback(lambda _: desk.tell_all())
    told_at = 0.0
    try:
        with concerning_many(desk.running.items):
            while True:
                over, told = running.done(), desk.ended.told
                page = await journal.see(ended_after, seen, _PAGE, before)
                for number, outcome in page:
                    seen = number
                    counting.ended(outcome)
                    yield outcome
                now = time.monotonic()
                if on_progress is not None and (now - told_at >= _TOLD or over):
                    told_at = now
                    await report(on_progress, counting.progress())
                if page:
                    continue
                if over:
                    break
                await desk.ended.wait(told, _TOLD if on_progress is not None else _LOOK)
                if not running.done():
                    await asyncio.sleep(_GATHERED)
            try:
                running.result()
            except Exception as failure:
                if isinstance(failure, DiffioError) or shortage_of(failure) is None:
                    raise
                desk.stop(failure)
    finally:
        running.cancel()
        await settled(running)


async def _stopped(desk: Desk) -> BatchStopped:
    waiting = await desk.journal.see(left)
    why = desk.stopped if desk.stopped is not None else desk.unfetched
    words = reason_of(why) if isinstance(why, Exception) else str(why)
    error = BatchStopped(
        f"the batch stopped: {words.rstrip('.')}. {waiting} of its files have no end yet; "
        "nothing is lost: correct it and run the same again, with the journal "
        f"{desk.journal.path!r}"
    )
    error.journal, error.left = desk.journal.path, waiting
    if isinstance(why, Exception):
        error.__cause__ = why
    return error
