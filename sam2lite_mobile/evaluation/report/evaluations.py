"""Evaluations side by side: scores with intervals, stability, and the time of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam2lite_mobile.evaluation.bench.tables import TextTable
from sam2lite_mobile.evaluation.bootstrap import Interval, paired_interval
from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.latency import Percentiles, frames_per_second
from sam2lite_mobile.evaluation.report.axes import number, signed
from sam2lite_mobile.evaluation.report.dot_chart import Dot, DotChart, Row, dot_chart
from sam2lite_mobile.evaluation.report.inputs import EvaluationInput
from sam2lite_mobile.evaluation.report.line_chart import SERIES_COLOURS
from sam2lite_mobile.evaluation.results import EvaluationResult, SequenceResult, Summary, stability_of
from sam2lite_mobile.evaluation.stability import Stability

STAGE_SHARE = 0.02
"""Stages whose median is a smaller share of the frame's in every evaluation are in the table alone."""
NONE = "\N{EN DASH}"
TOTAL = "total"
FEW_SEQUENCES = 6
"""An interval over fewer sequences is called coarse: a bootstrap has few of them to choose from."""
SAME = ("data", "split", "sequences", "max_frames", "loop_frames")
"""Conditions under which two evaluations score the same frames."""
STABILITY_NOTE = (
    "Drift: change of J&F in 100 frames. Consistency: standard deviation of J over the frames. Flicker: share of the "
    "boundary that changes between frames without motion; the annotation has its own."
)


@dataclass(frozen=True)
class Headline:
    """What a reader wants to know first about one evaluation."""

    name: str
    style: str
    what: str
    jf: str
    facts: tuple[tuple[str, str], ...]
    change: str
    conditions: str


def headlines(evaluations: Sequence[EvaluationInput]) -> list[Headline]:
    """One for each evaluation; the change is to the first one of the same frames, with its interval."""
    found = []
    for place, each in enumerate(evaluations):
        summary = _summary(each.result)
        reference = first_of_same_frames(evaluations, place)
        stability = stability_of([scores for sequence in each.result.sequences for scores in sequence.objects])
        *_, flicker, floor = stability_texts(stability)
        found.append(
            Headline(
                name=each.name,
                style=f"s{place % SERIES_COLOURS}",
                what=what_was_measured(each.result.conditions),
                jf=number(100 * summary.jf_mean),
                facts=(
                    ("J", number(100 * summary.j.mean)),
                    ("F", number(100 * summary.f.mean)),
                    ("drift", signed(100 * stability.drift)),
                    ("consistency", number(100 * stability.consistency)),
                    ("flicker", flicker),
                    ("annotation's flicker", floor),
                    *_speed(summary.latency_ms.get(TOTAL)),
                    *_cost(summary),
                ),
                change="" if reference is None else change_text(evaluations[reference], each),
                conditions=conditions_text(each.result.conditions),
            )
        )
    return found


def first_of_same_frames(evaluations: Sequence[EvaluationInput], place: int) -> int | None:
    """The first evaluation before this one that scored the same frames, or None."""
    given = evaluations[place].result
    return next((other for other in range(place) if same_frames(evaluations[other].result, given)), None)


def same_frames(first: EvaluationResult, second: EvaluationResult) -> bool:
    """Whether two evaluations scored the same objects in the same frames."""
    if any(getattr(first.conditions, name) != getattr(second.conditions, name) for name in SAME):
        return False
    return [_objects(each) for each in first.sequences] == [_objects(each) for each in second.sequences]


def change_text(before: EvaluationInput, after: EvaluationInput) -> str:
    """The difference of two J&F with its interval, in words."""
    interval = paired_interval(before.result.sequences, after.result.sequences)
    if len(after.result.sequences) == 1:
        return f"{signed(interval.difference)} against {before.name} (one sequence: no interval)"
    return f"{signed(interval.difference)} against {before.name} (95 %: {_range(interval)}): {verdict(interval)}"


def verdict(interval: Interval) -> str:
    """Whether the data tells the two apart."""
    return "not told apart" if interval.low <= 0 <= interval.high else "told apart"


def score_chart(evaluations: Sequence[EvaluationInput]) -> DotChart:
    """J&F of each sequence, worst sequence first, then the means."""
    names = dict.fromkeys(sequence.name for each in evaluations for sequence in each.result.sequences)
    by_name = {
        name: [
            (place, sequence.jf_mean)
            for place, each in enumerate(evaluations)
            for sequence in each.result.sequences
            if sequence.name == name
        ]
        for name in names
    }
    rows = [
        Row(name, tuple(_score_dot(jf, place) for place, jf in found))
        for name, found in sorted(by_name.items(), key=lambda item: min(jf for _, jf in item[1]))
    ]
    if len(rows) > 1:
        means = [_score_dot(_summary(each.result).jf_mean, place) for place, each in enumerate(evaluations)]
        rows.append(Row("all objects", tuple(means), strong=True))
    legend = [(place, each.name) for place, each in enumerate(evaluations)]
    return dot_chart("J&F by sequence", rows, x_label="J&F, percent", x_range=(0, 100), legend=legend)


def change_charts(evaluations: Sequence[EvaluationInput]) -> list[DotChart]:
    """For each evaluation that has one of the same frames before it: change by sequence, and the mean's interval."""
    charts = []
    for place, after in enumerate(evaluations):
        reference = first_of_same_frames(evaluations, place)
        if reference is None:
            continue
        before = evaluations[reference]
        changes = [
            (b.name, 100 * (b.jf_mean - a.jf_mean))
            for a, b in zip(before.result.sequences, after.result.sequences, strict=True)
        ]
        rows = [
            Row(name, (Dot(change, place, text=signed(change)),))
            for name, change in sorted(changes, key=lambda item: item[1])
        ]
        note = "One sequence: there is no interval."
        if len(changes) > 1:
            interval = paired_interval(before.result.sequences, after.result.sequences)
            mean = Dot(interval.difference, place, interval.low, interval.high, text=signed(interval.difference))
            rows.append(Row("all objects, 95 %", (mean,), strong=True))
            note = (
                f"{signed(interval.difference)} points, 95 % {_range(interval)}: {verdict(interval)}. Percentile "
                "bootstrap over sequences: what the change might have been with other sequences of this kind."
            )
            if len(changes) < FEW_SEQUENCES:
                note += f" Of {len(changes)} sequences it is coarse."
        charts.append(
            dot_chart(
                f"Change of J&F from {before.name} to {after.name}",
                rows,
                x_label="points of J&F",
                zero_line=True,
                note=note,
            )
        )
    return charts


def sequence_table(evaluations: Sequence[EvaluationInput]) -> TextTable:
    """Scores and stability: a row a sequence and evaluation, the worst sequence first."""
    scored = [(each.name, sequence) for each in evaluations for sequence in each.result.sequences]
    worst = {sequence.name: 1.0 for _, sequence in scored}
    for _, sequence in scored:
        worst[sequence.name] = min(worst[sequence.name], sequence.jf_mean)
    rows = [
        (sequence.name, name, *_scores(sequence), *stability_texts(stability_of(sequence.objects)))
        for name, sequence in sorted(scored, key=lambda item: (worst[item[1].name], item[1].name))
    ]
    columns = ("sequence", "result", "J&F", "J", "F", "drift", "consistency", "flicker", "annotation's")
    return TextTable("Scores and stability, percent", columns, tuple(rows), names=2)


def latency_chart(evaluations: Sequence[EvaluationInput]) -> DotChart:
    """Median of each stage that takes some share of the frame, with a bar to p99 and a mark at p95."""
    stages = dict.fromkeys(stage for each in evaluations for stage in _summary(each.result).latency_ms)
    rows = []
    for stage in stages:
        known = [(place, each, _summary(each.result).latency_ms.get(stage)) for place, each in enumerate(evaluations)]
        found = [(place, each, times) for place, each, times in known if times is not None]
        if any(times.p50 >= STAGE_SHARE * _total(each) for _, each, times in found):
            dots = tuple(_time_dot(times, place) for place, _, times in found)
            rows.append(Row(stage.replace("_", " "), dots, strong=stage == TOTAL))
    return dot_chart(
        "Time of each stage of a frame",
        rows,
        x_label="milliseconds",
        from_zero=True,
        legend=[(place, each.name) for place, each in enumerate(evaluations)],
        note=f"Dot and number: median. Bar: to p99, mark: p95. Stages of {STAGE_SHARE:.0%} of a frame or more.",
    )


def latency_table(evaluations: Sequence[EvaluationInput]) -> TextTable:
    """Percentiles of each stage that ran, a row a stage and evaluation."""
    rows = []
    for each in evaluations:
        for stage, times in _summary(each.result).latency_ms.items():
            if times.p99 > 0:
                values = (times.p50, times.p95, times.p99, times.mean)
                rows.append((each.name, stage.replace("_", " "), *(number(v) for v in values), str(times.frames)))
    columns = ("result", "stage", "p50", "p95", "p99", "mean", "frames")
    return TextTable("Milliseconds a frame", columns, tuple(rows), names=2)


def what_was_measured(conditions: Conditions) -> str:
    """Data, length and prompt in a line."""
    cut = "" if conditions.max_frames is None else f", first {conditions.max_frames} frames"
    loop = "" if conditions.loop_frames is None else f", forth and back to {conditions.loop_frames} frames"
    return f"{conditions.data}/{conditions.split}{cut}{loop}, {conditions.prompt} prompt, {conditions.size} px"


def conditions_text(conditions: Conditions) -> str:
    """Engine, memory and machine in a line."""
    engine, machine = conditions.engine, conditions.machine
    seed = "" if conditions.selection_seed is None else f" {conditions.selection_seed}"
    memory = (
        "unbounded memory"
        if conditions.budget is None
        else f"window {conditions.window}, {conditions.budget} tokens by {conditions.selection}{seed}"
    )
    return (
        f"{engine.name} {engine.version} {engine.precision} ({engine.detail}), {memory}, threads: {engine.threads}, "
        f"{machine.processor}, {machine.cores} cores"
    )


def stability_texts(found: Stability) -> tuple[str, str, str, str]:
    """Drift, consistency, flicker and the annotation's flicker in percent."""
    flicker = (NONE if value is None else number(100 * value) for value in (found.flicker, found.annotated_flicker))
    first, second = flicker
    return signed(100 * found.drift), number(100 * found.consistency), first, second


def _speed(total: Percentiles | None) -> tuple[tuple[str, str], ...]:
    if total is None:
        return ()
    return ("ms a frame, p50", number(total.p50)), ("frames a second", number(frames_per_second(total)))


def _cost(summary: Summary) -> tuple[tuple[str, str], ...]:
    """Energy and memory, where they were measured; a modelled energy is called one."""
    if summary.energy is None or summary.memory is None:
        return ()
    minutes = f"Wh for {summary.energy.video_minutes:g} minutes of video, by {summary.energy.method}"
    return (minutes, f"{summary.energy.watt_hours:.2f}"), ("peak MB", number(summary.memory.peak_bytes / 1e6))


def _total(given: EvaluationInput) -> float:
    total = _summary(given.result).latency_ms.get(TOTAL)
    return 0.0 if total is None else total.p50


def _score_dot(jf: float, place: int) -> Dot:
    return Dot(100 * jf, place, text=number(100 * jf))


def _time_dot(times: Percentiles, place: int) -> Dot:
    return Dot(times.p50, place, times.p50, times.p99, times.p95, number(times.p50))


def _scores(sequence: SequenceResult) -> tuple[str, ...]:
    return tuple(number(100 * value) for value in (sequence.jf_mean, sequence.j.mean, sequence.f.mean))


def _objects(sequence: SequenceResult) -> tuple[str, list[tuple[int, int]]]:
    return sequence.name, [(each.object_id, len(each.j)) for each in sequence.objects]


def _range(interval: Interval) -> str:
    return f"{signed(interval.low)} to {signed(interval.high)}"


def _summary(result: EvaluationResult) -> Summary:
    if result.summary is None:
        raise ValueError("a partial result has no means")
    return result.summary
