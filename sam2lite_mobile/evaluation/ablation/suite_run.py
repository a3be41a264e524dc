"""Running the suite `inference`: times first, then an evaluation a variant, each kept on disk at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.ablation.outcome import InferenceOutcome, inference_outcome, outcome_page
from sam2lite_mobile.evaluation.ablation.pareto import pareto_picture
from sam2lite_mobile.evaluation.ablation.timing import Engines, Times, measure_times, read_times
from sam2lite_mobile.evaluation.ablation.variants import DEFAULT, SUITE, Variant
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.evaluate import FrameObserver, evaluate_sequence
from sam2lite_mobile.evaluation.pacing import FIXED, SwitchingPace, TargetPace
from sam2lite_mobile.evaluation.prompting import PromptKind
from sam2lite_mobile.evaluation.results import EvaluationResult, PartialRun, condition_differences, read_result
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.media.json_file import write_json

TIMES_NAME = "times.json"
PLOT_NAME = f"{SUITE}_pareto.svg"


@dataclass(frozen=True)
class InferenceSuite:
    """What is run. base: conditions of the default variant's evaluation. engines: warmed up for a variant."""

    variants: tuple[Variant, ...]
    layout: DavisLayout
    base: Conditions
    engines: Engines
    out: Path

    def conditions(self, variant: Variant, *, target_fps: float) -> Conditions:
        """Those of a variant's evaluation."""
        pace = variant.pace(self.engines(variant).sizes, target_fps=target_fps)
        return msgspec.structs.replace(
            self.base,
            size=variant.size,
            window=variant.window,
            budget=variant.budget,
            selection=variant.selection,
            selection_seed=0 if variant.selection == "random" else None,
            target_fps=target_fps if isinstance(pace, TargetPace) else None,
            switch_every=pace.every if isinstance(pace, SwitchingPace) else None,
        )


def suite_times(
    suite: InferenceSuite, clip: Clip, *, rounds: int, on_round: Callable[[int, int], None] | None = None
) -> Times:
    """Times of all variants: those of an earlier call where it has them, for as many rounds, measured otherwise.

    The adaptive variant's target stays that of the first call, so that its evaluation can go on.
    """
    path = suite.out / TIMES_NAME
    before = read_times(path) if path.is_file() else None
    if before is not None:
        kept = {each.name for each in before.variants}
        if before.rounds == rounds and kept >= {variant.name for variant in suite.variants}:
            return before
    target = None if before is None else before.target_fps
    times = measure_times(suite.variants, suite.engines, clip, rounds=rounds, target_fps=target, on_round=on_round)
    write_json(path, times)
    return times


def run_variant(
    suite: InferenceSuite,
    variant: Variant,
    *,
    target_fps: float,
    stop: Callable[[], bool],
    on_frame: FrameObserver | None = None,
) -> EvaluationResult | None:
    """The evaluation of a variant: an earlier call's, or one that goes on where that was stopped. None: stopped again.

    Sequences are kept as they are finished; `stop` is asked before each.
    Raises DataError where the folder holds an evaluation under other conditions.
    """
    path = suite.out / f"{variant.name}.json"
    conditions = suite.conditions(variant, target_fps=target_fps)
    if path.is_file():
        found = read_result(path)
        if found.conditions != conditions:
            other = ", ".join(condition_differences(found.conditions, conditions))
            raise DataError(
                explain(str(path), expected="the conditions of this call", got=f"other {other}", do="use another --out")
            )
        return found
    run = PartialRun.open(path, conditions, resume=True)
    engine = suite.engines(variant)
    for name in run.missing:
        if stop():
            return None
        run.add(
            evaluate_sequence(
                engine,
                suite.layout,
                name,
                size=variant.size,
                prompt=PromptKind(conditions.prompt),
                window=variant.window,
                memory=variant.memory,
                pace=variant.pace(engine.sizes, target_fps=target_fps) if variant.factor == "adaptive" else FIXED,
                max_frames=conditions.max_frames,
                on_frame=on_frame,
            )
        )
    return run.complete()


def write_suite(
    folder: Path, variants: Sequence[Variant], results: Mapping[str, EvaluationResult], times: Times
) -> tuple[InferenceOutcome, list[Path]]:
    """Write SUITE.json, SUITE.md and the plot of the finished variants, the default among them; their paths.

    Raises MissingBackendError without matplotlib, after the files that need none.
    """
    if DEFAULT not in results:
        raise DataError(explain(str(folder), expected=f"an evaluation of {DEFAULT}", got="none", do="run the suite on"))
    outcome = inference_outcome(variants, results, times)
    data, page, plot = folder / f"{SUITE}.json", folder / f"{SUITE}.md", folder / PLOT_NAME
    write_json(data, outcome)
    replace_file(page, outcome_page(outcome, picture=None).encode())
    replace_file(plot, pareto_picture(outcome))
    replace_file(page, outcome_page(outcome, picture=PLOT_NAME).encode())
    return outcome, [data, page, plot]
