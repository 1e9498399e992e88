"""Plot of delay against requests of adaptive and fixed intervals, as SVG."""

from __future__ import annotations

import math

from attrs import evolve
from waits.simulation import FLEETS, MIN_INTERVALS, simulate_adaptive, simulate_fixed

from diffio_async import WaitPolicy

#: Colours of the fleets that are drawn.
_COLOURS = {
    "even percentages": "#1a7f37",
    "uneven percentages": "#0969da",
    "stages jump, equal shares": "#8250df",
    "stages jump, unpredictable shares": "#9a6700",
}
_FIXED_COLOUR = "#cf222e"
_FIXED_INTERVALS = (0.5, 1.0, 2.0, 4.0, 8.0)
#: Size and margins in pixels; ranges of the axes in requests per job and in seconds.
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 760, 460, 64, 40, 24, 56
_X, _Y = (5.0, 150.0), (0.15, 8.0)
_X_TICKS, _Y_TICKS = (5, 10, 20, 50, 100), (0.2, 0.5, 1, 2, 5)

Point = tuple[float, float]


def plot(jobs: int) -> str:
    """Simulate the fleets, and return the plot."""
    curves: list[tuple[str, str, list[Point]]] = []
    for name, colour in _COLOURS.items():
        fleet = evolve(FLEETS[name], jobs=jobs, created_over=600)
        points = []
        for seconds in MIN_INTERVALS:
            policy = WaitPolicy(min_interval=seconds)
            adaptive = simulate_adaptive(fleet, policy, limited=False)
            points.append((adaptive.requests / jobs, adaptive.mean_delay))
        curves.append((name, colour, points))
    fleet = evolve(FLEETS["even percentages"], jobs=jobs)
    fixed = [simulate_fixed(fleet, interval) for interval in _FIXED_INTERVALS]
    points = [(polls.requests / jobs, polls.mean_delay) for polls in fixed]
    curves.append(("fixed interval", _FIXED_COLOUR, points))
    return _svg(jobs, curves)


def _x(requests: float) -> float:
    share = math.log(requests / _X[0]) / math.log(_X[1] / _X[0])
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(seconds: float) -> float:
    share = math.log(seconds / _Y[0]) / math.log(_Y[1] / _Y[0])
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _text(x: float, y: float, text: str, attributes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{text}</text>'


def _svg(jobs: int, curves: list[tuple[str, str, list[Point]]]) -> str:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#24292f">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        _text(
            _LEFT,
            22,
            f"Mean delay against requests: {jobs:,} jobs in separate projects, median 60 s",
            'font-size="14" font-weight="bold"',
        ),
    ]
    for requests in _X_TICKS:
        x = _x(requests)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#d0d7de"/>')
        parts.append(_text(x, bottom + 18, str(requests), 'text-anchor="middle"'))
    for seconds in _Y_TICKS:
        y = _y(seconds)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{right}" stroke="#d0d7de"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{seconds:g} s", 'text-anchor="end"'))
    parts.append(
        _text((_LEFT + right) / 2, bottom + 40, "requests per job", 'text-anchor="middle"')
    )
    for number, (name, colour, points) in enumerate(curves):
        dots = [(_x(x), _y(y)) for x, y in points]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
        parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in dots]
        key = _TOP + 18 + 18 * number
        parts.append(
            f'<rect x="{right - 236}" y="{key - 9}" width="12" height="4" fill="{colour}"/>'
        )
        parts.append(_text(right - 218, key - 3, name))
    return "\n".join([*parts, "</svg>"]) + "\n"
