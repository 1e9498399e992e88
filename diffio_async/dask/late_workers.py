"""Report of a worker that joins a cluster during a run and lacks the package.

Such a worker ends when it gets an order, which it cannot unpickle, and its log alone would have
the reason. Dask runs this plugin on a worker before the first order.
"""

from __future__ import annotations

from distributed import Worker, WorkerPlugin


def report_missing_modules(topic: str) -> WorkerPlugin:
    """Return a plugin that logs an event, with a worker and the module that it lacks."""

    # A class that is not at the top of a module is pickled with its code, so that it runs where
    # this package is not installed.
    class ReportMissingModules(WorkerPlugin):
        def setup(self, worker: Worker) -> None:
            try:
                import diffio_async.dask.worker  # noqa: F401
            except ImportError as failure:
                report = {"worker": worker.address, "module": failure.name or str(failure)}
                worker.log_event(topic, report)

    return ReportMissingModules()
