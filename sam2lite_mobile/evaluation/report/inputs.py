"""The files that a page is made of: which kind each one is, read and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.ablation.outcome import InferenceOutcome, read_inference_outcome
from sam2lite_mobile.evaluation.ablation.variants import SUITE
from sam2lite_mobile.evaluation.bench.results import BenchResult, read_bench
from sam2lite_mobile.evaluation.report.checks import check_bench, check_evaluation
from sam2lite_mobile.evaluation.report.track_files import TrackedFrame, TrackInfo, is_track_folder, read_track
from sam2lite_mobile.evaluation.results import RESULT_BYTES, EvaluationResult, read_result
from sam2lite_mobile.media.json_file import NOT_JSON, read_json
from sam2lite_mobile.media.limits import check_file
from sam2lite_mobile.training.ablation.outcome import LARGEST_BYTES, SCHEMA_VERSION, Outcome

INPUTS_MAX = 16
KINDS = "a result of sam2lite eval, bench or ablate, or a folder of sam2lite track"


@dataclass(frozen=True)
class EvaluationInput:
    """A finished evaluation. name: what the page calls it. masks: folder that `eval --save-masks` wrote, if given."""

    name: str
    result: EvaluationResult
    masks: Path | None = None


@dataclass(frozen=True)
class BenchInput:
    """A benchmark."""

    name: str
    result: BenchResult


@dataclass(frozen=True)
class AblationInput:
    """The outcome of an ablation suite."""

    name: str
    outcome: Outcome | InferenceOutcome


@dataclass(frozen=True)
class TrackInput:
    """A folder of `sam2lite track`."""

    name: str
    folder: Path
    info: TrackInfo
    frames: list[TrackedFrame]


@dataclass(frozen=True)
class Inputs:
    """Everything that a page shows, by kind and each kind in the order given."""

    evaluations: tuple[EvaluationInput, ...]
    benches: tuple[BenchInput, ...]
    ablations: tuple[AblationInput, ...]
    tracks: tuple[TrackInput, ...]


class _Markers(Struct):
    """Fields that tell the kinds of result files apart, unread; empty where there is none."""

    sequences: msgspec.Raw = msgspec.Raw()
    subjects: msgspec.Raw = msgspec.Raw()
    suite: msgspec.Raw = msgspec.Raw()


def read_inputs(paths: Sequence[Path], *, masks: Sequence[Path] = ()) -> Inputs:
    """The inputs of a page. masks: folders of the evaluations' masks, in the order of the evaluations.

    Raises DataError for no or too many paths, a file of no known kind, a broken or unfinished one, or more folders of
    masks than evaluations.
    """
    if not 1 <= len(paths) <= INPUTS_MAX:
        raise DataError(explain("results", expected=f"1 to {INPUTS_MAX}", got=len(paths), do="make several pages"))
    found: list[Any] = [_read(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    evaluations = [each for each in found if isinstance(each, EvaluationInput)]
    if len(masks) > len(evaluations):
        raise DataError(
            explain(
                "--masks",
                expected=f"at most one folder for each of {len(evaluations)} evaluations",
                got=len(masks),
                do="leave some out, or add their results",
            )
        )
    for folder in masks:
        if not folder.is_dir():
            raise DataError(
                explain(f"--masks {folder}", expected="a folder of eval --save-masks", got="none", do="check the path")
            )
    paired = [*masks, *[None] * (len(evaluations) - len(masks))]
    return Inputs(
        evaluations=tuple(EvaluationInput(e.name, e.result, m) for e, m in zip(evaluations, paired, strict=True)),
        benches=tuple(each for each in found if isinstance(each, BenchInput)),
        ablations=tuple(each for each in found if isinstance(each, AblationInput)),
        tracks=tuple(each for each in found if isinstance(each, TrackInput)),
    )


def _read(path: Path, name: str) -> EvaluationInput | BenchInput | AblationInput | TrackInput:
    if path.is_dir():
        if not is_track_folder(path):
            raise DataError(
                explain(str(path), expected=KINDS, got="another folder", do="name a result or a track folder")
            )
        return TrackInput(name, path, *read_track(path))
    check_file(path, max_bytes=RESULT_BYTES)
    try:
        markers = msgspec.json.decode(path.read_bytes(), type=_Markers)
        inference = bool(bytes(markers.suite)) and msgspec.json.decode(markers.suite) == SUITE
    except NOT_JSON as error:
        raise DataError(explain(str(path), expected=KINDS, got=str(error), do="check the path")) from error
    if bytes(markers.subjects):
        bench = read_bench(path)
        check_bench(str(path), bench)
        return BenchInput(name, bench)
    if bytes(markers.suite):
        return AblationInput(name, read_inference_outcome(path) if inference else _read_outcome(path))
    if bytes(markers.sequences):
        result = read_result(path)
        check_evaluation(str(path), result)
        return EvaluationInput(name, result)
    raise DataError(explain(str(path), expected=KINDS, got="another JSON file", do="check the path"))


def _read_outcome(path: Path) -> Outcome:
    """The outcome of an ablation. Raises DataError for a file that is too large or breaks the schema."""
    expected, do = "a result of sam2lite ablate", "run the suite again"
    outcome = read_json(path, Outcome, max_bytes=LARGEST_BYTES, expected=expected, do=do)
    if outcome.schema_version != SCHEMA_VERSION or not outcome.runs:
        raise DataError(
            explain(
                str(path),
                expected=f"schema version {SCHEMA_VERSION} with a run",
                got=f"version {outcome.schema_version}, {len(outcome.runs)} runs",
                do=do,
            )
        )
    return outcome


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each path: its stem, with its folder where two are alike, with its place where they still are."""
    stems = [path.stem or path.resolve().name for path in paths]
    double = {stem for stem, count in Counter(stems).items() if count > 1}
    names = [
        f"{path.resolve().parent.name}/{stem}" if stem in double else stem
        for path, stem in zip(paths, stems, strict=True)
    ]
    again = {name for name, count in Counter(names).items() if count > 1}
    return [f"{name} ({place})" if name in again else name for place, name in enumerate(names, start=1)]
