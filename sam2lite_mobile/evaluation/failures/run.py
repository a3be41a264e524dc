"""Tracking the suite, and the result: a score for every sequence and the means of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine
from sam2lite_mobile.evaluation.datasets import DavisLayout, read_mask
from sam2lite_mobile.evaluation.evaluate import evaluate_sequence
from sam2lite_mobile.evaluation.failures.cases import Case, Suite
from sam2lite_mobile.evaluation.failures.measures import CaseScore, KindScore, case_score, switched
from sam2lite_mobile.evaluation.failures.painting import Mask
from sam2lite_mobile.evaluation.failures.suite import LOOKALIKES
from sam2lite_mobile.evaluation.pacing import FIXED, Pace
from sam2lite_mobile.evaluation.prompting import PromptKind
from sam2lite_mobile.evaluation.remedies import NO_REMEDY, Remedies
from sam2lite_mobile.media.json_file import read_json, write_json
from sam2lite_mobile.runtime.engine import Engine

SCHEMA_VERSION = 1
RESULT_BYTES = 16 * 2**20


class FailuresResult(Struct, frozen=True, forbid_unknown_fields=True):
    """What `sam2lite failures run` writes: how it was measured, every sequence, and the means by kind.

    min_quality, fine: remedies that it was measured with (`evaluation/remedies.py`).
    """

    schema_version: int
    package_version: str
    suite: Suite
    prompt: PromptKind
    size: Annotated[int, Meta(ge=1)]
    engine: EngineInfo
    machine: Machine
    cases: list[CaseScore]
    kinds: list[KindScore]
    min_quality: Annotated[float, Meta(ge=0, le=1)] = 0.0
    fine: bool = False


def run_case(
    engine: Engine,
    root: Path,
    case: Case,
    *,
    size: int,
    prompt: PromptKind = PromptKind.MASK,
    pace: Pace = FIXED,
    remedies: Remedies = NO_REMEDY,
    on_frame: Callable[[str, int, int], None] | None = None,
) -> CaseScore:
    """The score of one sequence of the suite in `root`, tracked at input size `size` from a prompt in frame 0.

    Raises DataError where the folder does not hold what its description says.
    """
    layout = DavisLayout(root)
    frames = layout.frames(case.name)
    if len(frames) != case.frames:
        raise DataError(
            explain(case.name, expected=f"{case.frames} frames", got=len(frames), do="make the suite again")
        )
    predicted: list[Mask] = []
    in_view: list[bool] = []
    switches: list[bool | None] = []

    def look(labels: NDArray[np.uint8]) -> None:
        frame = frames[len(predicted)]
        truth, mask = read_mask(frame.annotation) != 0, labels != 0
        if case.lookalike:
            copy = read_mask(root / LOOKALIKES / case.name / f"{frame.name}.png") != 0
            switches.append(switched(mask, truth, copy))
        predicted.append(mask)
        in_view.append(bool(truth.any()))

    result = evaluate_sequence(
        engine,
        layout,
        case.name,
        size=size,
        prompt=prompt,
        pace=pace,
        remedies=remedies,
        on_labels=look,
        on_frame=on_frame,
    )
    return case_score(
        case,
        j=result.objects[0].j,
        means=(result.j.mean, result.f.mean),
        predicted=predicted,
        in_view=in_view,
        switches=switches,
        ms=float(np.median(result.latency_ms["total"])),
    )


def write_failures(path: Path, result: FailuresResult) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted."""
    write_json(path, result)


def read_failures(path: Path) -> FailuresResult:
    """A result file. Raises DataError if it is missing, too large, of another version or breaks the schema."""
    do = "run sam2lite failures run"
    result = read_json(path, FailuresResult, max_bytes=RESULT_BYTES, expected="a result of failures", do=do)
    if result.schema_version != SCHEMA_VERSION:
        raise DataError(
            explain(str(path), expected=f"schema {SCHEMA_VERSION}", got=result.schema_version, do="run it again")
        )
    return result
