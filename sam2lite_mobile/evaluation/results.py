"""The result file of an evaluation: its schema, reading, writing, and the means that it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sam2lite_mobile.contract import BANK_TOKENS
from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.davis import SequenceStatistics, evaluated_frames, sequence_statistics
from sam2lite_mobile.evaluation.energy import Energy, energy_of
from sam2lite_mobile.evaluation.latency import Percentiles, percentiles
from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.evaluation.stability import Stability, mean_stability, object_stability
from sam2lite_mobile.media.cell_bits import CellBits
from sam2lite_mobile.media.json_file import NOT_JSON, write_json

SCHEMA_VERSION = 3
BEFORE_STABILITY = 2
"""The version without flicker, stability, loops and memory cells: none of them was measured."""
BEFORE_SELECTION = 1
"""The version without budget and selection: there was one budget, and the gate chose."""
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
MemoryCells = dict[Count, CellBits]
"""Cells that an object's memory holds, by the index of the frame that they come from."""
RESULT_BYTES = 256 * 2**20
"""A larger result file is refused unread."""


class Measure(Struct, frozen=True, forbid_unknown_fields=True):
    """Mean, recall (share of frames above 0.5) and decay (first quarter minus last quarter) of J or F."""

    mean: Share
    recall: Share
    decay: Annotated[float, Meta(ge=-1, le=1)]


class ObjectScores(Struct, frozen=True, forbid_unknown_fields=True):
    """J and F of one object in every frame from the one it was prompted in to the last; means leave out both ends.

    flicker, annotated_flicker: from each of these frames to the next, so one value fewer; None where not measured.
    memory_cells: what the memory holds after each of these frames (`media/cell_bits.py`); None where not recorded.
    """

    object_id: Annotated[int, Meta(ge=1, le=255)]
    first_frame: Count
    j: list[Share]
    f: list[Share]
    flicker: list[Share] | None = None
    annotated_flicker: list[Share] | None = None
    memory_cells: list[MemoryCells] | None = None


class ResidentSample(Struct, frozen=True, forbid_unknown_fields=True):
    """The resident set of the process after a frame."""

    frame: Count
    resident_bytes: Count


class SequenceCost(Struct, frozen=True, forbid_unknown_fields=True):
    """What tracking a sequence cost this process. Frames are those that the tracker was given.

    processor_s: of all threads, inside the timer of `TIMER_SCOPE`. counter_j: energy of the machine's processors in
    the same time (`energy.py`), None where no counter was read. loaded_bytes: resident set before the first frame,
    with the engine's weights. peak_bytes: the largest resident set of the process so far; scoring is in it.
    """

    frames: Annotated[int, Meta(ge=1)]
    processor_s: Annotated[float, Meta(ge=0)]
    counter_j: Annotated[float, Meta(ge=0)] | None
    loaded_bytes: Count
    peak_bytes: Count


class SequenceResult(Struct, frozen=True, forbid_unknown_fields=True):
    """Scores and times of one sequence. `j`, `f`, `stability` are means over its objects; `latency_ms` has one value
    a frame. frame_names: names of the frames as files, in the order they were tracked in. resident: memory of the
    process on the way, first and last frame included; None unless the clip was looped.

    sizes: input size of each frame, where it changed; else empty, as in files from before there were changes. cost:
    None in files from before it was measured.
    """

    name: str
    frames: Count
    width: Count
    height: Count
    j: Measure
    f: Measure
    jf_mean: Share
    objects: list[ObjectScores]
    latency_ms: dict[str, list[float]]
    stability: Stability | None = None
    frame_names: list[str] | None = None
    resident: list[ResidentSample] | None = None
    sizes: list[Count] = []
    cost: SequenceCost | None = None


class MemoryUse(Struct, frozen=True, forbid_unknown_fields=True):
    """Memory of the process, the largest one where there were several.

    loaded_bytes: resident set with the engine loaded, before the first frame: interpreter, libraries and weights.
    peak_bytes: the largest resident set. What lies between are activations, the memory bank, frames, and what scoring
    needs; `sam2lite bench` measures a tracker alone.
    """

    loaded_bytes: Count
    peak_bytes: Count


class Summary(Struct, frozen=True, forbid_unknown_fields=True):
    """Means over all objects of all sequences, each object counting the same, as in davis2017-evaluation.

    energy, memory: None where a sequence does not say what it cost.
    """

    objects: Count
    j: Measure
    f: Measure
    jf_mean: Share
    latency_ms: dict[str, Percentiles]
    stability: Stability | None = None
    energy: Energy | None = None
    memory: MemoryUse | None = None


class EvaluationResult(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole evaluation. `summary` is None while sequences are missing (the partial file of a run)."""

    schema_version: int
    conditions: Conditions
    sequences: list[SequenceResult]
    summary: Summary | None


def object_measures(scores: ObjectScores) -> tuple[Measure, Measure]:
    """Statistics of J and of F of one object over its evaluated frames."""
    j, f = (sequence_statistics(evaluated_frames(values)) for values in (scores.j, scores.f))
    return _measure([j]), _measure([f])


def stability_of(objects: Sequence[ObjectScores]) -> Stability:
    """Mean stability of objects; also for results of a version that did not state it. Not empty."""
    return mean_stability(
        [
            object_stability(each.j, each.f, flicker=each.flicker, annotated_flicker=each.annotated_flicker)
            for each in objects
        ]
    )


def sequence_result(
    name: str,
    objects: Sequence[ObjectScores],
    *,
    shape: tuple[int, int],
    latency_ms: Mapping[str, Sequence[float]],
    frame_names: Sequence[str] | None = None,
    resident: Sequence[ResidentSample] | None = None,
    sizes: Sequence[int] = (),
    cost: SequenceCost | None = None,
) -> SequenceResult:
    """Scores of a sequence: means over its objects. shape: (height, width) of its frames. sizes: of every frame."""
    j, f = _mean_measures(objects)
    return SequenceResult(
        name=name,
        frames=max(scores.first_frame + len(scores.j) for scores in objects),
        width=shape[1],
        height=shape[0],
        j=j,
        f=f,
        jf_mean=(j.mean + f.mean) / 2,
        objects=list(objects),
        latency_ms={stage: [round(value, 3) for value in values] for stage, values in latency_ms.items()},
        stability=stability_of(objects),
        frame_names=None if frame_names is None else list(frame_names),
        resident=None if resident is None else list(resident),
        sizes=list(sizes) if len(set(sizes)) > 1 else [],
        cost=cost,
    )


def summarize(sequences: Sequence[SequenceResult]) -> Summary:
    """Means over all objects, the distribution of each stage's time over all frames, energy and memory."""
    objects = [scores for sequence in sequences for scores in sequence.objects]
    j, f = _mean_measures(objects)
    costs = _costs(sequences)
    stages: dict[str, list[float]] = {}
    for sequence in sequences:
        for stage, values in sequence.latency_ms.items():
            stages.setdefault(stage, []).extend(values)
    return Summary(
        objects=len(objects),
        j=j,
        f=f,
        jf_mean=(j.mean + f.mean) / 2,
        latency_ms={stage: percentiles(values) for stage, values in stages.items()},
        stability=stability_of(objects),
        energy=None if costs is None else _energy(costs),
        memory=None if costs is None else MemoryUse(costs[0].loaded_bytes, max(each.peak_bytes for each in costs)),
    )


def write_result(path: Path, result: EvaluationResult) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted."""
    write_json(path, result)


def read_result(path: Path) -> EvaluationResult:
    """A result file, of this schema version or one before.

    Raises DataError if it is missing, too large, of another schema version or breaks the schema.
    """
    try:
        if path.stat().st_size > RESULT_BYTES:
            raise DataError(explain(str(path), expected=f"at most {RESULT_BYTES} bytes", got="more", do="split it"))
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=_Versioned).schema_version
        if version in (BEFORE_SELECTION, BEFORE_STABILITY):
            return _upgraded(data, version)
        if version != SCHEMA_VERSION:
            raise DataError(
                explain(str(path), expected=f"schema version {SCHEMA_VERSION}", got=version, do="evaluate again")
            )
        return msgspec.json.decode(data, type=EvaluationResult)
    except (OSError, *NOT_JSON) as error:
        raise DataError(
            explain(str(path), expected="a result of this schema", got=str(error), do="evaluate again")
        ) from error


class PartialRun:
    """An evaluation that is under way: its finished sequences, kept in FILE.partial until all are there.

    Opened by `PartialRun.open`; `add` each sequence, then `complete`. part: the sequences that this process evaluates,
    if not all: then the finished file is a part for `shards.join`, without a summary.
    """

    def __init__(
        self,
        path: Path,
        conditions: Conditions,
        *,
        finished: Sequence[SequenceResult],
        part: Sequence[str] | None = None,
    ) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._conditions = conditions
        self._part = part
        self._finished = {sequence.name: sequence for sequence in finished}

    @classmethod
    def open(cls, path: Path, conditions: Conditions, *, resume: bool, part: Sequence[str] | None = None) -> PartialRun:
        """A run that writes to `path`; with `resume`, one that goes on from the partial file if there is one.

        A part that is finished while others are not is not evaluated again, either.
        Raises DataError if the folder of `path` is missing, or if the partial file was made under other conditions.
        """
        if not path.parent.is_dir() or path.is_dir():
            raise DataError(
                explain(f"result {path}", expected="a file in an existing folder", got="none", do="create the folder")
            )
        run = cls(path, conditions, finished=(), part=part)
        kept = [run._partial] if part is None else [run._partial, path]
        found = next((each for each in kept if each.exists()), None)
        if not resume or found is None:
            return run
        before = read_result(found)
        if before.conditions != conditions:
            raise DataError(
                explain(
                    f"resume from {found}",
                    expected="the conditions of the interrupted run",
                    got=f"other {', '.join(condition_differences(before.conditions, conditions))}",
                    do="repeat its options, or start again without --resume",
                )
            )
        return cls(path, conditions, finished=before.sequences, part=part)

    @property
    def missing(self) -> tuple[str, ...]:
        """Sequences that are still to be evaluated, in order."""
        wanted = self._conditions.sequences if self._part is None else self._part
        return tuple(name for name in wanted if name not in self._finished)

    def add(self, sequence: SequenceResult) -> None:
        """Keep a finished sequence on disk."""
        self._finished[sequence.name] = sequence
        write_result(self._partial, self._result(summary=None))

    def complete(self) -> EvaluationResult:
        """The whole result, or the whole part, written; the partial file is removed.

        Raises DataError while sequences are missing.
        """
        if self.missing:
            raise DataError(
                explain(str(self._path), expected="all sequences", got=f"none of {self.missing}", do="use --resume")
            )
        result = self._result(summary=None)
        if self._part is None:
            result = msgspec.structs.replace(result, summary=summarize(result.sequences))
        write_result(self._path, result)
        self._partial.unlink(missing_ok=True)
        return result

    def _result(self, *, summary: Summary | None) -> EvaluationResult:
        names = (name for name in self._conditions.sequences if name in self._finished)
        return EvaluationResult(SCHEMA_VERSION, self._conditions, [self._finished[name] for name in names], summary)


def condition_differences(first: Conditions, second: Conditions) -> list[str]:
    """Names of the conditions that are not equal."""
    return [name for name in first.__struct_fields__ if getattr(first, name) != getattr(second, name)]


class _Versioned(Struct):
    schema_version: int


def _upgraded(data: bytes, version: int) -> EvaluationResult:
    """The result of a file of version 1 or 2. Fields that it has not are None, as where nothing was measured."""
    content = msgspec.json.decode(data)
    if version == BEFORE_SELECTION and isinstance(content.get("conditions"), dict):
        content["conditions"] |= {"budget": BANK_TOKENS, "selection": Selection.GATE, "selection_seed": None}
    return msgspec.convert(content | {"schema_version": SCHEMA_VERSION}, EvaluationResult)


def _costs(sequences: Sequence[SequenceResult]) -> list[SequenceCost] | None:
    """The costs of all sequences; None where one has none."""
    found = [each.cost for each in sequences if each.cost is not None]
    return found if len(found) == len(sequences) else None


def _energy(costs: Sequence[SequenceCost]) -> Energy:
    """By the counters only where they were read for every sequence."""
    counted = [each.counter_j for each in costs if each.counter_j is not None]
    return energy_of(
        sum(each.frames for each in costs),
        processor_s=sum(each.processor_s for each in costs),
        counter_j=sum(counted) if len(counted) == len(costs) else None,
    )


def _mean_measures(objects: Sequence[ObjectScores]) -> tuple[Measure, Measure]:
    pairs = [object_measures(scores) for scores in objects]
    return _measure([j for j, _ in pairs]), _measure([f for _, f in pairs])


def _measure(statistics: Sequence[Measure | SequenceStatistics]) -> Measure:
    return Measure(
        mean=float(np.mean([each.mean for each in statistics])),
        recall=float(np.mean([each.recall for each in statistics])),
        decay=float(np.mean([each.decay for each in statistics])),
    )
