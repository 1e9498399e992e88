"""When to ask for progress next. Pure: randomness is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.options import WaitPolicy

#: A pause is drawn this far around its middle, so that a fleet does not march in step.
_SPREAD = 0.2
#: The share of the time waited so far that learning of the end may cost on top.
_SHARE = 0.1


def next_pause(policy: WaitPolicy, waited: float, jitter: float) -> float:
    """Seconds until the next question.

    Args:
        policy: The shortest and the longest pause.
        waited: Seconds since the wait began.
        jitter: A random number from 0 to 1.
    """
    middle = min(policy.longest, max(policy.first, waited * _SHARE))
    return middle * (1 - _SPREAD + 2 * _SPREAD * jitter)
