"""Batches on the workers of a Dask cluster (extra `dask`)."""

from __future__ import annotations

try:
    import distributed as _distributed  # noqa: F401 - the message below names the extra
except ImportError as failure:
    raise ImportError(
        "batches on a cluster need the extra `dask`: pip install 'diffio_async[dask]'",
        name=failure.name,
    ) from failure

from diffio_async.dask.executor import DaskExecutor

__all__ = ["DaskExecutor"]
