"""What the suite `inference` found: each variant's accuracy, time and memory, as JSON, tables and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.ablation.timing import Times
from sam2lite_mobile.evaluation.ablation.variants import DEFAULT, SUITE, Variant
from sam2lite_mobile.evaluation.bench.report import markdown_table
from sam2lite_mobile.evaluation.bench.tables import TextTable
from sam2lite_mobile.evaluation.bootstrap import paired_interval
from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.results import EvaluationResult
from sam2lite_mobile.media.json_file import read_json

INFERENCE_VERSION = 1
OUTCOME_BYTES = 2**20


class VariantOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One variant. j, f: in 0..1. change, low, high: J&F against the default in points of 100, with its interval
    (bootstrap over sequences); None for the default. p50_ms, p95_ms, ratio: see `VariantTime`. bank_bytes: what the
    decoder reads of one object's memory.
    """

    name: str
    factor: str
    title: str
    j: float
    f: float
    change: float | None
    low: float | None
    high: float | None
    p50_ms: float
    p95_ms: float
    ratio: float
    bank_bytes: int

    @property
    def jf(self) -> float:
        """J&F in points of 100."""
        return 50 * (self.j + self.f)


class InferenceOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All variants, the default first. conditions: of the default's evaluation. target_fps: of the adaptive one."""

    schema_version: int
    suite: str
    conditions: Conditions
    clip: str
    rounds: int
    target_fps: float
    variants: tuple[VariantOutcome, ...]


def inference_outcome(
    variants: Sequence[Variant], results: Mapping[str, EvaluationResult], times: Times
) -> InferenceOutcome:
    """The outcome of the variants whose evaluation is finished, by name; the default's is among them."""
    default = results[DEFAULT]
    time_of = {each.name: each for each in times.variants}
    found = []
    for variant in variants:
        if variant.name not in results or variant.name not in time_of:
            continue
        result, taken = results[variant.name], time_of[variant.name]
        if result.summary is None:
            continue
        change = None if variant.name == DEFAULT else paired_interval(default.sequences, result.sequences)
        found.append(
            VariantOutcome(
                name=variant.name,
                factor=variant.factor,
                title=variant.title,
                j=result.summary.j.mean,
                f=result.summary.f.mean,
                change=None if change is None else change.difference,
                low=None if change is None else change.low,
                high=None if change is None else change.high,
                p50_ms=taken.p50_ms,
                p95_ms=taken.p95_ms,
                ratio=taken.ratio,
                bank_bytes=variant.bank_bytes,
            )
        )
    return InferenceOutcome(
        INFERENCE_VERSION, SUITE, default.conditions, times.clip, times.rounds, times.target_fps, tuple(found)
    )


def read_inference_outcome(path: Path) -> InferenceOutcome:
    """An outcome file. Raises DataError for one that is too large, of another version, empty, or breaks the schema."""
    expected, do = "a result of sam2lite ablate", "run the suite again"
    outcome = read_json(path, InferenceOutcome, max_bytes=OUTCOME_BYTES, expected=expected, do=do)
    if outcome.schema_version != INFERENCE_VERSION or not outcome.variants:
        got = f"version {outcome.schema_version}, {len(outcome.variants)} variants"
        expected = f"schema version {INFERENCE_VERSION} with a variant"
        raise DataError(explain(str(path), expected=expected, got=got, do=do))
    return outcome


def variants_table(outcome: InferenceOutcome) -> TextTable:
    """A row a variant."""
    rows = tuple(
        (
            each.title,
            f"{each.jf:.1f}",
            "" if each.change is None else f"{each.change:+.1f}",
            "" if each.change is None else f"{each.low:+.1f} to {each.high:+.1f}",
            f"{each.p50_ms:.0f}",
            f"{each.p95_ms:.0f}",
            f"{each.ratio:.2f}",
            f"{each.bank_bytes / 1e6:.2f}",
        )
        for each in outcome.variants
    )
    columns = ("variant", "J&F", "change", "95 %", "ms", "p95", "ratio", "bank, MB")
    return TextTable("Choices at inference", columns, rows)


def conditions_line(outcome: InferenceOutcome) -> str:
    """What the figures were measured on, in a sentence."""
    seen = outcome.conditions
    frames = "all frames" if seen.max_frames is None else f"the first {seen.max_frames} frames"
    return (
        f"J&F on {seen.data}, {seen.split}: {', '.join(seen.sequences)} ({frames}), {seen.prompt} prompt; "
        f"{seen.engine.name} {seen.engine.version} {seen.engine.precision} ({seen.engine.detail}), threads: "
        f"{seen.engine.threads}, {seen.machine.processor}. Change: against the default, 95 % interval by bootstrap "
        f"over sequences. Times: ms a frame, {outcome.rounds} interleaved rounds on {outcome.clip}, a frame of every "
        "variant in each, medians; ratios to the default are taken round by round. Bank: what the decoder reads of one "
        f"object's memory. The scheduler was asked for {outcome.target_fps:.2f} frames a second; its score depends on "
        "the machine's speed and load."
    )


def outcome_page(outcome: InferenceOutcome, *, picture: str | None) -> str:
    """The outcome as a page of Markdown. picture: file name of the plot, if one was drawn."""
    table = variants_table(outcome)
    lines = [
        f"# Ablation: {SUITE}",
        "",
        f"Written by `sam2lite ablate --suite {SUITE}`: one choice at a time differs from the default.",
        "",
        *markdown_table(table),
        "",
        conditions_line(outcome),
        "",
    ]
    if picture is not None:
        lines += [f"![J&F against milliseconds a frame]({picture})", ""]
    return "\n".join(lines)
