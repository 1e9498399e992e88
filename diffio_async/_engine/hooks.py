"""Retry hooks are the user's code: whatever they do, the failure stays what it is."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._logging import log

if TYPE_CHECKING:
    from diffio_async.errors import DiffioError
    from diffio_async.options import RetryPolicy


def guarded(policy: RetryPolicy) -> RetryPolicy:
    """The policy, with a hook that cannot replace the failure (and its ids) by one of its own."""
    hook = policy.on
    if hook is None:
        return policy

    def ask(failure: DiffioError) -> bool | float | None:
        try:
            verdict: object = hook(failure)
        except Exception:
            log.exception("a retry hook raised; the policy decides in its place")
            return None
        if verdict is None or isinstance(verdict, (bool, int, float)):
            return verdict
        log.error("a retry hook must return a bool, seconds or None, not %s", type(verdict))
        if inspect.iscoroutine(verdict):
            verdict.close()
        return None

    return evolve(policy, on=ask)
