"""Orders on their way to the workers of a cluster, and the facts that come back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define, field
from distributed import KilledWorker
from distributed.client import ClosedClientError, FutureCancelledError

from diffio_async.dask import worker
from diffio_async.dask.checks import INSTALL, check_late_worker, missing_module
from diffio_async.dask.connection import first_line
from diffio_async.dask.late_workers import report_missing_modules
from diffio_async.dask.orders import NotAdmitted, OrderFailed
from diffio_async.errors import ConfigurationError, ConnectionFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from distributed import Client, Future

    from diffio_async.dask.checks import Requirements

    #: An order, and its future of the cluster once it is submitted.
    _Waiting = tuple[tuple[object, ...], asyncio.Future[Future[Any]]]

T = TypeVar("T")

#: Seconds between submissions. One of eight orders takes the coordinator and the scheduler a third
#: of the CPU time of eight submissions.
_INTERVAL = 0.1
#: Priorities of the orders: what is nearly finished is finished first.
_PRIORITIES = {worker.read_recording: 0, worker.send_recording: 1, worker.store_result: 2}
#: Seconds to wait for the scheduler and all workers, at the start and at the end of a run.
_BROADCAST_SECONDS = 5
#: Workers that cannot be checked, and to which an order may come.
_MAX_UNCHECKED = 3

_Work = Any  # a function of `worker`


@define(eq=False)
class OrderQueue:
    """Queue of orders. The first one is submitted at once, those that follow it together."""

    client: Client
    required: Requirements
    _waiting: dict[_Work, list[_Waiting]] = field(factory=dict)
    _numbers: Iterator[int] = field(factory=itertools.count)
    #: The instant of the loop from which on orders may be submitted.
    _submit_at: float = 0.0
    #: Checks of workers that joined the cluster after the start.
    _checks: dict[str, asyncio.Task[None]] = field(factory=dict)
    #: Why no order is given any longer; empty as long as orders are given.
    _refusal: str = ""

    @property
    def name(self) -> str:
        """Name of the run: of its tasks, of the topic and the metadata about received parts."""
        return self.required.run

    async def carry_out(self, work: Callable[..., Awaitable[T | OrderFailed]], *order: object) -> T:
        """Give an order to a worker, and return the fact that comes back.

        Raises:
            DiffioError: The order failed, or was lost with its worker or the scheduler.
        """
        async with self.carried_out(work, *order) as (_, fact):
            return cast("T", fact)

    @contextlib.asynccontextmanager
    async def carried_out(
        self, work: Callable[..., object], *order: object
    ) -> AsyncIterator[tuple[Future[Any], object]]:
        """Give an order to a worker; its fact is released at the end.

        Raises:
            DiffioError: As in `carry_out`.
        """
        unchecked = 0
        while True:
            if self._refusal:
                raise ConnectionFailed(self._refusal, permanent=True)
            future = await self._submitted(work, *order)
            try:
                fact = await self._fact(future)
                if not isinstance(fact, NotAdmitted):
                    yield future, fact
                    return
            finally:
                future.release()
            try:
                await self._check(fact.worker)
            except ConnectionFailed as failure:
                # The worker may have left: then the order comes to another one.
                unchecked += 1
                if failure.permanent or unchecked == _MAX_UNCHECKED:
                    raise

    async def start(self) -> None:
        """Let workers that join from now on report what they lack."""
        topic = f"{self.name}-missing"
        self.client.subscribe_topic(topic, self._on_missing_module)
        with contextlib.suppress(OSError):  # for a worker that has left, or does not respond
            async with asyncio.timeout(_BROADCAST_SECONDS):
                plugin: Any = self.client.register_plugin(report_missing_modules(topic), self.name)
                await plugin

    async def _on_missing_module(self, event: tuple[float, dict[str, str]]) -> None:
        _, report = event
        self._refusal = missing_module(f"the worker {report['worker']}", report["module"])

    async def close(self) -> None:
        """Cancel the checks that still run, and remove what the scheduler has of the run."""
        checks = list(self._checks.values())
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
        if self.client.status == "running":
            # ValueError: the run was cancelled before it has registered the plugin.
            with contextlib.suppress(OSError, ValueError):
                async with asyncio.timeout(_BROADCAST_SECONDS):
                    await cast("Any", self.client.set_metadata(self.name, None))
                    await self.client.unregister_worker_plugin(self.name)

    async def _check(self, worker: str) -> None:
        """Check a worker, once for all orders that it was given.

        Raises:
            ConnectionFailed: It cannot take part, which ends the run (`permanent`), or it has left
                or does not respond.
        """
        check = self._checks.get(worker)
        if check is None:
            check = asyncio.create_task(check_late_worker(self.client, self.required, worker))
            self._checks[worker] = check
            check.add_done_callback(lambda _: self._checks.pop(worker))
        try:
            await asyncio.shield(check)
        except (ConfigurationError, ConnectionFailed) as failure:
            if self.client.status != "running":
                raise self._lost(failure) from failure
            is_unfit = isinstance(failure, ConfigurationError)
            raise ConnectionFailed(str(failure), permanent=is_unfit) from failure

    async def _submitted(self, work: Callable[..., object], *order: object) -> Future[Any]:
        loop = asyncio.get_running_loop()
        submitted: asyncio.Future[Future[Any]] = loop.create_future()
        if not self._waiting:
            loop.call_at(max(self._submit_at, loop.time()), self._submit)
        self._waiting.setdefault(work, []).append((order, submitted))
        try:
            return await submitted
        except (OSError, ClosedClientError) as failure:
            raise self._lost(failure) from failure

    def _submit(self) -> None:
        """Submit all orders that wait."""
        groups, self._waiting = self._waiting, {}
        self._submit_at = asyncio.get_running_loop().time() + _INTERVAL
        for work, group in groups.items():
            orders = [each for each in group if not each[1].done()]  # the others were cancelled
            if orders:
                self._submit_together(work, orders)

    def _submit_together(self, work: _Work, orders: list[_Waiting]) -> None:
        try:
            futures = self.client.map(
                worker.carry_out,
                *map(list, zip(*(order for order, _ in orders), strict=True)),
                run=self.name,
                work=work,
                key=[f"{self.name}-{work.__name__}-{next(self._numbers)}" for _ in orders],
                pure=False,
                priority=_PRIORITIES[work],
            )
        except Exception as failure:  # noqa: BLE001 - raised by the waiting steps
            if len(orders) == 1:
                orders[0][1].set_exception(failure)
                return
            # One that does not pickle fails alone.
            for each in orders:
                self._submit_together(work, [each])
        else:
            for (_, submitted), future in zip(orders, futures, strict=True):
                submitted.set_result(future)

    async def _fact(self, future: Future[Any]) -> object:
        try:
            fact = await future
        except KilledWorker as failure:
            raise ConnectionFailed(
                f"several workers died while they carried out an order: {failure}"
            ) from None
        except (OSError, FutureCancelledError) as failure:
            raise self._lost(failure) from failure
        except Exception as failure:
            raise ConnectionFailed(
                "a worker that joined the cluster cannot run this version of the package "
                f"({first_line(failure)}): {INSTALL}, or remove the worker",
                permanent=True,
            ) from failure
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
