"""A benchmark's result as tables of text, for a terminal and for a Markdown page alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sam2lite_mobile.contract import GRAPHS
from sam2lite_mobile.evaluation.bench.comparisons import DISK, PEAK_MEMORY
from sam2lite_mobile.evaluation.bench.results import BenchResult, LongRun, Sweep
from sam2lite_mobile.evaluation.bench.subjects import EAGER, HOST, TORCH, TOTAL

MEGABYTE = 1e6
NONE = "-"


@dataclass(frozen=True)
class TextTable:
    """A table of text; the first `names` columns hold names, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: int = 1


def bench_tables(result: BenchResult) -> list[TextTable]:
    """One table for each question that a result answers, the goals first; those without rows are left out."""
    tables = [
        _verdicts(result),
        _times(result),
        _ratios(result),
        _work(result),
        _host(result),
        _memory(result),
        _memory_ratios(result),
        _disk(result),
        *(_sweep(sweep) for sweep in result.sweeps),
        *(() if result.long_run is None else (_long_run(result.long_run),)),
    ]
    return [table for table in tables if table.rows]


def conditions_lines(result: BenchResult) -> list[str]:
    """What the figures hold for, line by line."""
    conditions = result.conditions
    loads = " to ".join("?" if load is None else f"{load:.2f}" for load in (conditions.load_start, conditions.load_end))
    engines = dict.fromkeys(f"{each.engine.name} {each.engine.version}" for each in result.subjects)
    found = conditions.dot_product
    integers = "not told by the system" if found is None else ", ".join(found) or "none"
    return [
        f"{conditions.rounds} rounds after {conditions.warm_up_rounds} of warm-up, threads: {conditions.threads}, "
        f"{conditions.machine.processor} ({conditions.machine.cores} cores), load average {loads}; dot-product "
        f"instructions for 8-bit integers: {integers}",
        "interleaved: a round runs one frame of every subject, in one process; each finds the processor's caches as "
        "the one before has left them",
        f"clip {conditions.clip}; {'; '.join(engines)}",
        *_torch_lines(result),
        f"peak: {result.peak.gflops:.1f} * 10^9 operations a second of processor time ({result.peak.library}; "
        f"{result.peak.scope}); a multiply-add is two operations, products of matrices and convolutions are counted",
        f"memory: {conditions.memory_scope}",
        *dict.fromkeys(f"timed: {each.scope}" for each in result.subjects),
    ]


def _torch_lines(result: BenchResult) -> Iterator[str]:
    """What the two ways of running a student on torch are."""
    runtimes = {each.runtime for each in result.subjects}
    if TORCH in runtimes:
        yield "names without a runtime: our torch engine, copies of the graphs with tuned layouts and kernels"
    if EAGER in runtimes:
        yield "eager: the student's own modules in PyTorch, as they are written and exported"


def _times(result: BenchResult) -> TextTable:
    """Medians by part: a row a subject, `-` where a subject has no such part."""
    parts = tuple(dict.fromkeys(name for each in result.subjects for name in each.parts if name != TOTAL))
    rows = []
    for each in result.subjects:
        total = each.parts[TOTAL]
        cells = (f"{each.parts[part].wall_ms.p50:.1f}" if part in each.parts else NONE for part in parts)
        whole = (f"{total.wall_ms.p50:.1f}", f"{total.wall_ms.p95:.1f}", f"{total.cpu_ms.p50:.1f}")
        rows.append((each.name, *cells, *whole))
    return TextTable("median ms a frame", ("subject", *map(_words, parts), TOTAL, "p95", "processor time"), tuple(rows))


def _host(result: BenchResult) -> TextTable:
    subjects = [each for each in result.subjects if each.host_ms]
    stages = tuple(dict.fromkeys(stage for each in subjects for stage in each.host_ms))
    rows = []
    for each in subjects:
        whole = each.parts[HOST].wall_ms.p50
        known = [each.host_ms[stage].p50 for stage in stages]
        cells = (*known, max(0.0, whole - sum(known)), whole)
        rows.append((each.name, *(f"{value:.2f}" for value in cells)))
    columns = ("subject", *stages, "checks, rest", HOST)
    return TextTable("host: median ms a frame, outside the engine", columns, tuple(rows))


def _ratios(result: BenchResult) -> TextTable:
    rows = tuple(
        (
            each.subject,
            each.peer,
            "whole frame" if each.part == TOTAL else _words(each.part),
            f"{each.wall:.3f}",
            f"{each.wall_low:.3f}-{each.wall_high:.3f}",
            f"{each.cpu:.3f}",
        )
        for each in result.ratios
    )
    columns = ("subject", "against", "part", "wall", "quartiles", "processor")
    return TextTable("ratio of times, round by round, then the median", columns, rows, names=3)


def _verdicts(result: BenchResult) -> TextTable:
    rows = tuple(
        (each.what, f"{each.measured:.3f}", f"{each.limit:.2f}", "held" if each.held else "missed")
        for each in result.verdicts
    )
    return TextTable("limits, on the wall clock", ("what", "measured", "limit", ""), rows)


def _work(result: BenchResult) -> TextTable:
    """Operations and shares of the peak: a row a subject, two columns a graph."""
    graphs = tuple(graph for graph in GRAPHS if any(graph in each.work for each in result.subjects))
    rows = []
    for each in result.subjects:
        if each.work:
            cells: list[str] = []
            for graph in graphs:
                work = each.work.get(graph)
                cells += [NONE, NONE] if work is None else [f"{work.flops / 1e9:.2f}", f"{work.peak_share:.1%}"]
            rows.append((each.name, *cells))
    columns = [word for graph in graphs for word in (_words(graph), "share")]
    title = "10^9 floating-point operations of a frame, and the share of the machine's peak"
    return TextTable(title, ("subject", *columns), tuple(rows))


def _memory(result: BenchResult) -> TextTable:
    rows = []
    for each in result.subjects:
        if each.memory is not None:
            before, peak = each.memory.before_bytes, each.memory.peak_bytes
            cells = (f"{value / MEGABYTE:.0f}" for value in (before, peak, peak - before))
            parameters = NONE if each.parameters is None else f"{each.parameters / 1e6:.2f} M"
            rows.append((each.name, *cells, parameters))
    return TextTable("memory of a process, MB", ("subject", "before", "peak", "added", "parameters"), tuple(rows))


def _memory_ratios(result: BenchResult) -> TextTable:
    found = [each for each in result.bytes_ratios if each.what == PEAK_MEMORY]
    rows = tuple((each.subject, each.reference, f"{each.ratio:.3f}") for each in found)
    return TextTable("ratio of peak memory", ("subject", "against", "ratio"), rows, names=2)


def _disk(result: BenchResult) -> TextTable:
    ratios = {each.subject: each for each in result.bytes_ratios if each.what == DISK}
    rows = []
    for each in result.subjects:
        if each.disk_bytes is not None:
            ratio = ratios.get(each.name)
            against = (NONE, NONE) if ratio is None else (ratio.reference, f"{ratio.ratio:.3f}")
            rows.append((each.name, against[0], f"{each.disk_bytes / MEGABYTE:.1f}", against[1]))
    columns = ("subject", "against", "MB", "ratio")
    return TextTable("size on disk of a package's models, all the sizes that it has", columns, tuple(rows), names=2)


def _sweep(sweep: Sweep) -> TextTable:
    """Whole frames: a row a line, a column a value."""
    values = sorted({point.value for point in sweep.points})
    lines = dict.fromkeys(point.line for point in sweep.points)
    at = {(point.line, point.value): point for point in sweep.points}
    rows = []
    for line in lines:
        points = (at.get((line, value)) for value in values)
        rows.append((line, *(NONE if point is None else f"{point.wall_ms.p50:.1f}" for point in points)))
    title = f"median ms a frame against {AXIS_WORDS[sweep.axis]} ({sweep.fixed})"
    return TextTable(title, ("line", *map(str, values)), tuple(rows))


AXIS_WORDS = {"size": "input size, px", "tokens": "tokens of the memory bank", "objects": "objects"}
"""How an axis is called in titles and plots."""


def _long_run(run: LongRun) -> TextTable:
    rows = []
    for segment in run.segments:
        frames = f"{segment.first_frame} to {segment.first_frame + segment.frames - 1}"
        resident = f"{segment.resident_bytes / MEGABYTE:.1f}"
        rows.append((frames, f"{segment.wall_ms:.1f}", f"{segment.cpu_ms:.1f}", resident))
    columns = ("frames", "median ms", "processor ms", "resident MB")
    return TextTable(f"{run.frames} frames of {run.subject}", columns, tuple(rows))


def _words(part: str) -> str:
    return part.replace("_", " ")
