"""What becomes of a work or a result when a call failed: again later, or over."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from diffio_async._engine.system_errors import shortage_of
from diffio_async._logging import log
from diffio_async._wire.contents import encodable
from diffio_async.batch import ends, fetches, works
from diffio_async.batch.kinds import Kind, kind_of, root_of, short
from diffio_async.batch.rows import File, Lost, Work
from diffio_async.errors import ClientClosed, DatabaseUnusable, DiffioError, NotFound

if TYPE_CHECKING:
    from diffio_async.batch.ends import Problem
    from diffio_async.batch.plan import Desk
    from diffio_async.batch.rows import Fetch

#: Tries of one step of one file in a run, where the failure seems to be its own.
MOST_TRIES = 4
#: Characters of an error that the journal keeps.
_LONGEST = 4000
#: The API's code where a generation has no result of a type.
_NO_SUCH_TYPE = "downloadUnavailable"


def problem_of(failure: Exception) -> Problem:
    """The class and the text of a failure, as the journal keeps them."""
    return type(failure).__name__, encodable(str(failure))[:_LONGEST]


def is_gone(failure: DiffioError) -> bool:
    """Whether the service does not know the generation, rather than one type of its results."""
    return type(failure) is NotFound and failure.code != _NO_SUCH_TYPE


def lost_problem(desk: Desk, failure: DiffioError, generation: str, project: str) -> Problem:
    """The failure where a journalled generation is unknown, with what can be done."""
    text = str(failure).rstrip(".")
    return type(failure).__name__, (
        f"{text}. The service no longer knows generation {generation} of project {project}; its "
        "result cannot be fetched. With retry_failed=True (diffio-async batch retry "
        f"{shlex.quote(desk.journal.path)}) the recording is restored again, and billed again"
    )


def judged(desk: Desk, failure: DiffioError, tries: int, successes: int) -> tuple[bool, bool]:
    """Whether to try again, and whether that counts as a try.

    `successes` is how many there had been when the step began: a failure among successes is the
    step's own, one among failures is the weather's.

    Raises:
        DiffioError: It ends the run: the client is closed, or the journal cannot be written.
    """
    root = root_of(failure)
    if isinstance(root, (ClientClosed, DatabaseUnusable)):
        raise root
    kind = kind_of(failure)
    if kind is Kind.EVERYBODYS:
        desk.stop(failure)
        return True, False
    if kind is Kind.ALONE:
        return False, True
    counts = not short(failure) and (kind is Kind.ODD or desk.weather.successes > successes)
    if kind is Kind.WEATHER:
        desk.weather.bad(failure)
        if desk.weather.hopeless:
            desk.stop(failure)
            return True, False
    return tries < MOST_TRIES or not counts, counts


async def file_set_back(desk: Desk, file: File, failure: DiffioError, successes: int) -> None:
    """A file's turn failed before it had a work: it comes again later, or the file fails."""
    journal = desk.journal
    again, _ = judged(desk, failure, file.tries, successes)
    if again:
        delay = desk.weather.pause
        await journal.do(ends.file_put_back, journal.runner, file.id, delay)
        desk.look_in(delay)
        return
    problem = problem_of(failure)
    await journal.do(
        ends.file_failed, journal.runner, file.id, (problem[0], file.problem or problem[1])
    )
    if desk.plan.on_error == "stop":
        desk.stop(failure)


async def set_back(desk: Desk, work: Work, failure: DiffioError, successes: int) -> None:
    """A step of a work failed: it is taken up again later, or its files fail."""
    journal = desk.journal
    again, counts = judged(desk, failure, work.tries + 1, successes)
    if again:
        delay = desk.weather.pause
        await journal.do(works.work_put_back, journal.runner, work.id, delay, counts=counts)
        desk.look_in(delay)
        return
    await journal.do(works.work_failed, journal.runner, work.id, problem_of(failure), again=True)
    if desk.plan.on_error == "stop":
        desk.stop(failure)


async def fetch_set_back(desk: Desk, fetch: Fetch, failure: DiffioError, successes: int) -> None:
    """A download failed: it is begun again later, or the result fails."""
    journal = desk.journal
    again, counts = judged(desk, failure, fetch.tries, successes)
    if desk.stopped is failure:
        # What may not be asked for is not asked for again and again.
        desk.unfetched = failure
    if again:
        delay = desk.weather.pause
        await journal.do(fetches.fetch_put_back, journal.runner, fetch, delay, counts=counts)
        desk.look_in(delay)
        return
    await journal.do(
        fetches.fetch_failed, journal.runner, fetch, problem_of(failure), again=True, ours=True
    )
    if desk.plan.on_error == "stop":
        desk.stop(failure)


async def broken(desk: Desk, row: File | Work | Fetch, failure: Exception) -> None:
    """Fail one file, or the files of one work, for an error that nothing expects.

    Raises:
        Exception: It concerns the whole run: the journal, the client, what the process is short of.
    """
    if isinstance(failure, (Lost, DiffioError)) or shortage_of(failure) is not None:
        raise failure
    log.error("%s failed unexpectedly; the batch continues", _called(row), exc_info=failure)
    journal, problem = desk.journal, problem_of(failure)
    if isinstance(row, File):
        await journal.do(ends.file_failed, journal.runner, row.id, problem)
    elif isinstance(row, Work):
        await journal.do(works.work_broken, journal.runner, row.id, problem)
    else:
        await journal.do(
            fetches.fetch_failed, journal.runner, row, problem, again=True, ours=row.ours
        )
    desk.ended.tell()
    if desk.plan.on_error == "stop":
        desk.stop(failure)


def _called(row: File | Work | Fetch) -> str:
    # Not by its repr, which has the credentials of an upload.
    if isinstance(row, File):
        return f"the file {row.path!r}"
    if isinstance(row, Work):
        return f"recording {row.id} of the journal (project {row.project or 'unknown'})"
    return f"the {row.kind} of generation {row.generation}"
