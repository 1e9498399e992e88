"""The stages of a generation and what each weighs in the whole."""

from collections.abc import Mapping

STAGES = ("preProcessing", "inference", "restoredVideo")

_AUDIO = {"preProcessing": 0.1, "inference": 0.9}
_VIDEO = {"preProcessing": 0.1, "inference": 0.7, "restoredVideo": 0.2}


def overall(stages: Mapping[str, float], *, has_video: bool) -> int:
    """Sum up percentages of stages to one of the whole; 100 is left to completion."""
    weights = _VIDEO if has_video else _AUDIO
    begun = [name for name in weights if name in stages]
    total = 0.0
    for name in begun:
        # A stage is over once a later one has begun, whatever it reported last.
        total += weights[name] * (stages[name] if name == begun[-1] else 100.0)
    return min(99, int(total))


def spread(fraction: float, *, has_video: bool) -> dict[str, float]:
    """Say which stages a job is in that has done this fraction of its time."""
    stages: dict[str, float] = {}
    for name, weight in (_VIDEO if has_video else _AUDIO).items():
        stages[name] = min(100.0, 100.0 * fraction / weight)
        fraction -= weight
        if fraction < 0:
            break
    return stages
