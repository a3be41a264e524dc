"""Dot charts as inline SVG: a row a name, dots for values, bars for ranges. They show scores, intervals and times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from sam2lite_mobile.evaluation.report.axes import axis, padded
from sam2lite_mobile.evaluation.report.line_chart import SERIES_COLOURS

WIDTH = 560
ROW, TOP, BOTTOM, RIGHT = 26, 6, 34, 64
CHARACTER = 7.3
"""Width of a character of the row names in pixels, about."""
LABEL_CHARACTERS = 34


@dataclass(frozen=True)
class Dot:
    """A value, with the range that it may have (an interval, or p50 to p99). tick: a mark inside of the range."""

    value: float
    colour: int = 0
    low: float | None = None
    high: float | None = None
    tick: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Row:
    """A row of dots. strong: set apart, as a mean is."""

    label: str
    dots: tuple[Dot, ...]
    strong: bool = False


@dataclass(frozen=True)
class DotChart:
    """A drawn chart."""

    title: str
    note: str
    svg: str
    legend: tuple[tuple[str, str], ...]


def dot_chart(
    title: str,
    rows: Sequence[Row],
    *,
    x_label: str,
    legend: Sequence[tuple[int, str]] = (),
    x_range: tuple[float, float] | None = None,
    zero_line: bool = False,
    from_zero: bool = False,
    note: str = "",
) -> DotChart:
    """A chart with a row a name. Dots of one row lie below each other where there are several.

    legend: colour and name of each series. zero_line: draw 0, which is then in range. from_zero: the axis starts there.
    The first dot with a text writes it at the right end of the row.
    """
    ends = [end for row in rows for dot in row.dots for end in (dot.value, dot.low, dot.high) if end is not None]
    if zero_line:
        ends.append(0.0)
    low, high = x_range if x_range is not None else padded(ends, floor=0.0 if from_zero else None)
    left = 14 + CHARACTER * min(LABEL_CHARACTERS, max((len(row.label) for row in rows), default=0))
    heights = [max(ROW, 13 * len(row.dots) + 8) for row in rows]
    height = TOP + sum(heights) + BOTTOM
    x = axis(low, high, start=left, end=WIDTH - RIGHT, ticks=6)
    bottom = height - BOTTOM
    parts = []
    for tick in x.ticks:
        at = x.place(tick)
        style = "axis" if zero_line and tick == 0 else "grid"
        parts.append(f'<line class="{style}" x1="{at}" x2="{at}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="tick" x="{at}" y="{bottom + 15}" text-anchor="middle">{x.label(tick)}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{height - 4}" text-anchor="end">{escape(x_label)}</text>')
    top = float(TOP)
    for row, row_height in zip(rows, heights, strict=True):
        parts += _row(row, x.place, left=left, top=top, height=row_height)
        top += row_height
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" class="chart">'
    svg = "".join((head, *parts, "</svg>"))
    named = tuple((f"s{colour % SERIES_COLOURS}", name) for colour, name in legend)
    return DotChart(title, note, svg, named)


def _row(row: Row, at: Callable[[float], float], *, left: float, top: float, height: float) -> list[str]:
    """SVG of a row; at: the pixel of a value."""
    middle = top + height / 2
    name = (
        row.label
        if len(row.label) <= LABEL_CHARACTERS
        else f"{row.label[: LABEL_CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
    weight = " strong" if row.strong else ""
    parts = [f'<text class="name{weight}" x="{left - 12:.1f}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>']
    for index, dot in enumerate(row.dots):
        y = round(middle + 13 * (index - (len(row.dots) - 1) / 2), 1)
        colour = f"s{dot.colour % SERIES_COLOURS}"
        if dot.low is not None and dot.high is not None:
            parts.append(f'<line class="range {colour}" x1="{at(dot.low)}" x2="{at(dot.high)}" y1="{y}" y2="{y}"/>')
        if dot.tick is not None:
            parts.append(
                f'<line class="cap {colour}" x1="{at(dot.tick)}" x2="{at(dot.tick)}" y1="{y - 4}" y2="{y + 4}"/>'
            )
        parts.append(f'<circle class="mark {colour}" cx="{at(dot.value)}" cy="{y}" r="{5 if row.strong else 4}"/>')
        if dot.text:
            parts.append(
                f'<text class="value{weight}" x="{WIDTH - 4}" y="{y + 4}" text-anchor="end">{escape(dot.text)}</text>'
            )
    return parts
