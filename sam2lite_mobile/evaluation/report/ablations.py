"""An ablation on the page: each variant's mean over seeds with its spread, and what it gains or loses."""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.ablation.outcome import InferenceOutcome, conditions_line, variants_table
from sam2lite_mobile.evaluation.bench.tables import TextTable
from sam2lite_mobile.evaluation.report.axes import number, signed
from sam2lite_mobile.evaluation.report.dot_chart import Dot, DotChart, Row, dot_chart
from sam2lite_mobile.evaluation.report.inputs import AblationInput
from sam2lite_mobile.training.ablation.outcome import Outcome, rows
from sam2lite_mobile.training.ablation.outcome import Row as VariantRow
from sam2lite_mobile.training.ablation.suites import SUITES


@dataclass(frozen=True)
class AblationView:
    """What the page shows of an ablation. times: of the choices at inference; training has none."""

    name: str
    scores: DotChart
    changes: DotChart
    times: DotChart | None
    table: TextTable
    conditions: str


def ablation_view(given: AblationInput) -> AblationView:
    """The charts and the table of an ablation. Raises DataError for a suite that this version does not have."""
    outcome = given.outcome
    if isinstance(outcome, InferenceOutcome):
        return inference_view(given.name, outcome)
    if outcome.suite not in SUITES:
        raise DataError(
            explain(f"{given.name}: suite", expected=" or ".join(SUITES), got=repr(outcome.suite), do="leave it out")
        )
    found = rows(SUITES[outcome.suite], outcome.runs)
    return AblationView(given.name, _scores(found), _changes(found), None, _table(found), _conditions(outcome))


def inference_view(name: str, outcome: InferenceOutcome) -> AblationView:
    """The choices at inference: accuracy, its change with the interval over sequences, and time."""
    variants = outcome.variants
    scores = [Row(each.title, (Dot(each.jf, text=number(each.jf)),)) for each in variants]
    changes = [
        Row(each.title, (Dot(each.change, 0, each.low, each.high, text=signed(each.change)),))
        for each in variants
        if each.change is not None
    ]
    times = [
        Row(each.title, (Dot(each.p50_ms, 0, each.p50_ms, each.p95_ms, text=number(each.p50_ms)),)) for each in variants
    ]
    return AblationView(
        name,
        dot_chart("J&F of each choice", scores, x_label="J&F, percent"),
        dot_chart(
            "Change of J&F against the default",
            changes,
            x_label="points of J&F",
            zero_line=True,
            note="Bar: 95 % interval, bootstrap over sequences.",
        ),
        dot_chart("Time of a frame", times, x_label="ms, median", from_zero=True, note="Bar: to p95."),
        variants_table(outcome),
        conditions_line(outcome),
    )


def _scores(found: list[VariantRow]) -> DotChart:
    drawn = [
        Row(each.title, (Dot(each.mean, 0, *_ends(each.mean, each.spread, each.seeds), text=number(each.mean)),))
        for each in found
    ]
    note = "Bar: standard deviation over seeds, where there are several."
    return dot_chart("J&F of each variant", drawn, x_label="J&F, percent", note=note)


def _changes(found: list[VariantRow]) -> DotChart:
    drawn = []
    for each in found:
        if each.difference is None:
            continue
        ends = _ends(each.difference, each.difference_spread or 0.0, each.seeds)
        dots = [Dot(each.difference, 0, *ends, text=signed(each.difference))]
        if each.published is not None:
            dots.append(Dot(each.published, 1))
        drawn.append(Row(each.title, tuple(dots)))
    return dot_chart(
        "Change of J&F against the full recipe with the same seed",
        drawn,
        x_label="points of J&F",
        zero_line=True,
        legend=[(0, "measured"), (1, "methodology")],
        note="Bar: standard deviation of the change over seeds. One seed has no bar, and says little.",
    )


def _ends(value: float, spread: float, seeds: int) -> tuple[float | None, float | None]:
    return (value - spread, value + spread) if seeds > 1 else (None, None)


def _table(found: list[VariantRow]) -> TextTable:
    lines = tuple(
        (
            each.title,
            str(each.seeds),
            number(each.mean),
            number(each.spread) if each.seeds > 1 else "",
            "" if each.difference is None else signed(each.difference),
            "" if each.published is None else signed(each.published),
        )
        for each in found
    )
    return TextTable("Variants", ("variant", "seeds", "J&F", "spread", "change", "methodology"), lines)


def _conditions(outcome: Outcome) -> str:
    clips = ", ".join(str(count) for count in sorted({run.clips for run in outcome.runs}))
    return (
        f"{len(outcome.runs)} runs of {clips} clips; J&F on {len(outcome.hold_out)} training sequences that no run "
        f"saw ({', '.join(outcome.hold_out)}), first-frame mask, {outcome.size} px, at most {outcome.frames} frames of "
        f"each, torch {outcome.torch_version} on {outcome.machine.processor}, threads of a run: {outcome.threads}"
    )
