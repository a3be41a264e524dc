"""Line charts as inline SVG: values over frames, over sizes, over time. Colours are classes of the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from sam2lite_mobile.evaluation.report.axes import Axis, axis, padded

WIDTH = 560
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 34
POINTS_MAX = 1200
"""Longer lines are thinned to the lowest and the highest value of each stretch, so that no peak is lost."""
SERIES_COLOURS = 8
"""Colours of the style, s0 to s7; lines beyond are dashed in the same colours."""


@dataclass(frozen=True)
class Line:
    """A line of a chart. colour: index of its colour; floor: drawn grey and dashed, as a reference. nan: a gap."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0
    floor: bool = False
    step: bool = False
    marks: bool = False

    @property
    def style(self) -> str:
        """Classes of its stroke."""
        if self.floor:
            return "floor"
        dashed = " dash" if self.colour >= SERIES_COLOURS else ""
        return f"s{self.colour % SERIES_COLOURS}{dashed}"


@dataclass(frozen=True)
class LineChart:
    """A drawn chart. x_start, x_end: places of its axis as shares of the width, low, high: the values there."""

    title: str
    note: str
    svg: str
    legend: tuple[tuple[str, str], ...]
    x_start: float
    x_end: float
    low: float
    high: float


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_range: tuple[float, float] | None = None,
    from_zero: bool = False,
    height: int = 170,
    note: str = "",
    y_ticks: Sequence[float] | None = None,
) -> LineChart:
    """A chart of lines that share both axes. y_range: fixed; otherwise what the values need, from 0 if `from_zero`.

    y_ticks: where the y axis has its ticks, round values if None. The x axis has frames, sizes or counts: its ticks are
    whole numbers.
    """
    xs = [value for line in lines for value in line.x]
    ys = [value for line in lines for value in line.y]
    low_y, high_y = y_range if y_range is not None else padded(ys, floor=0.0 if from_zero else None)
    x = axis(min(xs, default=0), max(xs, default=1), start=LEFT, end=WIDTH - RIGHT, ticks=8, whole=True)
    y = axis(low_y, high_y, start=height - BOTTOM, end=TOP, ticks=max(3, height // 45))
    if y_ticks is not None:
        y = replace(y, ticks=tuple(y_ticks))
    parts = [*_grid(x, y, height=height, x_label=x_label)]
    for line in sorted(lines, key=lambda each: not each.floor):
        parts.append(f'<path class="line {line.style}" d="{_path(line, x, y)}"/>')
        if line.marks:
            parts += [
                f'<circle class="mark {line.style}" cx="{x.place(at)}" cy="{y.place(value)}" r="3.2"/>'
                for at, value in zip(line.x, line.y, strict=True)
            ]
    label = escape(f"{title}: {', '.join(line.label for line in lines)}")
    cursor = f'<line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{height - BOTTOM}" visibility="hidden"/>'
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}" class="chart">'
    svg = "".join((head, *parts, cursor, "</svg>"))
    legend = tuple((line.style, line.label) for line in lines)
    return LineChart(title, note, svg, legend, LEFT / WIDTH, 1 - RIGHT / WIDTH, x.low, x.high)


def _grid(x: Axis, y: Axis, *, height: int, x_label: str) -> list[str]:
    bottom = height - BOTTOM
    parts = []
    for tick in y.ticks:
        at = y.place(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{at + 3.5}" text-anchor="end">{y.label(tick)}</text>')
    for tick in x.ticks:
        at = x.place(tick)
        parts.append(f'<line class="axis" x1="{at}" x2="{at}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 16}" text-anchor="middle">{x.label(tick)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 4}" text-anchor="end">{escape(x_label)}</text>')
    return parts


def _path(line: Line, x: Axis, y: Axis) -> str:
    """Path data, broken where a value is missing."""
    data, drawing = [], False
    for at, value in _thinned(list(zip(line.x, line.y, strict=True))):
        if not math.isfinite(value):
            drawing = False
            continue
        px, py = x.place(at), y.place(value)
        if not drawing:
            data.append(f"M{px} {py}")
        else:
            data.append(f"H{px}V{py}" if line.step else f"L{px} {py}")
        drawing = True
    return "".join(data)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(points) <= POINTS_MAX:
        return points
    stretch = math.ceil(2 * len(points) / POINTS_MAX)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), stretch):
        known = [point for point in points[start : start + stretch] if math.isfinite(point[1])]
        if known:
            ends = {min(known, key=lambda point: point[1]), max(known, key=lambda point: point[1])}
            kept += sorted(ends)
    return kept
