"""Orders on their way to the workers of a cluster, and the facts that come back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define, field
from distributed import KilledWorker
from distributed.client import FutureCancelledError

from diffio_async.dask import worker
from diffio_async.dask.checks import own_versions
from diffio_async.dask.orders import OrderFailed
from diffio_async.errors import ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from distributed import Client, Future

T = TypeVar("T")

#: Seconds between submissions. One of eight orders takes the coordinator and the scheduler a third
#: of the CPU time of eight submissions.
_INTERVAL = 0.1
#: Priorities of the orders: what is nearly finished is finished first.
_PRIORITIES = {worker.read_recording: 0, worker.send_recording: 1, worker.store_result: 2}

_Work = Any  # a function of `worker`


@define(eq=False)
class OrderQueue:
    """Queue of orders. The first one is submitted at once, those that follow it together."""

    client: Client
    name: str
    _waiting: dict[_Work, list[tuple[tuple[object, ...], asyncio.Future[Future[Any]]]]] = field(
        factory=dict
    )
    _numbers: Iterator[int] = field(factory=itertools.count)
    #: The instant of the loop from which on orders may be submitted.
    _submit_at: float = 0.0

    async def carry_out(self, work: Callable[..., Awaitable[T | OrderFailed]], *order: object) -> T:
        """Give an order to a worker, and return the fact that comes back.

        Raises:
            DiffioError: The order failed, or was lost with its worker or the scheduler.
        """
        async with self.submitted(work, *order) as future:
            return cast("T", await self.fact(future))

    @contextlib.asynccontextmanager
    async def submitted(
        self, work: Callable[..., object], *order: object
    ) -> AsyncIterator[Future[Any]]:
        """Give an order to a worker; the fact is released at the end.

        Raises:
            ConnectionFailed: The connection to the scheduler was lost.
        """
        loop = asyncio.get_running_loop()
        submitted: asyncio.Future[Future[Any]] = loop.create_future()
        if not self._waiting:
            loop.call_at(max(self._submit_at, loop.time()), self._submit)
        self._waiting.setdefault(work, []).append((order, submitted))
        try:
            future = await submitted
        except OSError as failure:
            raise self._lost(failure) from failure
        try:
            yield future
        finally:
            future.release()

    def _submit(self) -> None:
        """Submit all orders that wait."""
        groups, self._waiting = self._waiting, {}
        self._submit_at = asyncio.get_running_loop().time() + _INTERVAL
        for work, group in groups.items():
            orders = [each for each in group if not each[1].done()]  # the others were cancelled
            if not orders:
                continue
            try:
                futures = self.client.map(
                    worker.carry_out,
                    *map(list, zip(*(order for order, _ in orders), strict=True)),
                    versions=own_versions(),
                    work=work,
                    key=[f"{self.name}-{work.__name__}-{next(self._numbers)}" for _ in orders],
                    pure=False,
                    priority=_PRIORITIES[work],
                )
            except Exception as failure:  # noqa: BLE001 - raised by the waiting steps
                for _, submitted in orders:
                    submitted.set_exception(failure)
            else:
                for (_, submitted), future in zip(orders, futures, strict=True):
                    submitted.set_result(future)

    async def fact(self, future: Future[Any]) -> object:
        """Return the fact of an order.

        Raises:
            DiffioError: As in `carry_out`.
        """
        try:
            fact = await future
        except KilledWorker as failure:
            raise ConnectionFailed(
                f"several workers died while they carried out an order: {failure}"
            ) from None
        except ImportError as failure:
            raise ConnectionFailed(
                f"a worker that joined the cluster lacks the module {failure.name}: install the "
                "same there as here, or remove it",
                permanent=True,
            ) from failure
        except (OSError, FutureCancelledError) as failure:
            raise self._lost(failure) from failure
        if isinstance(fact, OrderFailed):
            raise fact.error()
        return fact

    def _lost(self, failure: Exception) -> ConnectionFailed:
        """Return the error for an order that was lost; it ends the run if the scheduler is gone."""
        gone = self.client.status != "running"
        return ConnectionFailed(
            "the connection to the scheduler of the cluster was lost"
            if gone
            else f"the cluster lost an order: {failure}",
            permanent=gone,
        )
