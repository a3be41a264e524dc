"""A benchmark on the page: whole frames, what they cost over size, tokens and objects, and the tables behind."""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.evaluation.bench.results import BenchResult, Sweep
from sam2lite_mobile.evaluation.bench.subjects import TOTAL
from sam2lite_mobile.evaluation.bench.tables import AXIS_WORDS, TextTable, bench_tables, conditions_lines
from sam2lite_mobile.evaluation.report.axes import number
from sam2lite_mobile.evaluation.report.dot_chart import Dot, DotChart, Row, dot_chart
from sam2lite_mobile.evaluation.report.inputs import BenchInput
from sam2lite_mobile.evaluation.report.line_chart import Line, LineChart, line_chart


@dataclass(frozen=True)
class BenchView:
    """What the page shows of a benchmark."""

    name: str
    whole: DotChart
    sweeps: tuple[LineChart, ...]
    tables: tuple[TextTable, ...]
    conditions: tuple[str, ...]
    notes: tuple[str, ...]


def bench_view(given: BenchInput) -> BenchView:
    """The charts and tables of a benchmark."""
    return BenchView(
        name=given.name,
        whole=_whole_frames(given.result),
        sweeps=tuple(_sweep(sweep) for sweep in given.result.sweeps if sweep.points),
        tables=tuple(bench_tables(given.result)),
        conditions=tuple(conditions_lines(given.result)),
        notes=tuple(given.result.notes),
    )


def _whole_frames(result: BenchResult) -> DotChart:
    timed = [(each.name, each.parts[TOTAL].wall_ms) for each in result.subjects if TOTAL in each.parts]
    rows = [
        Row(name, (Dot(times.p50, 0, times.p50, times.p99, times.p95, number(times.p50)),))
        for name, times in sorted(timed, key=lambda item: item[1].p50)
    ]
    note = "Dot and number: median on the wall clock. Bar: to p99, with a mark at p95."
    return dot_chart("A whole frame", rows, x_label="milliseconds", from_zero=True, note=note)


def _sweep(sweep: Sweep) -> LineChart:
    lines = []
    for place, name in enumerate(dict.fromkeys(point.line for point in sweep.points)):
        points = sorted((point for point in sweep.points if point.line == name), key=lambda point: point.value)
        values = [point.wall_ms.p50 for point in points]
        lines.append(Line(name, [point.value for point in points], values, place, marks=True))
    words = AXIS_WORDS.get(sweep.axis, sweep.axis)
    return line_chart(
        f"Median milliseconds a frame against {words}",
        lines,
        x_label=words,
        from_zero=True,
        height=230,
        note=sweep.fixed,
    )
