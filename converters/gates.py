"""The gates: what a converted graph, and a whole tracked clip, measure against PyTorch. A miss is an error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from converters.limits import Limit, graph_limit, lowering_limit, median_frame_limit, worst_frame_limit
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.errors import GateError, explain
from sam2lite_mobile.evaluation.prompted_clip import PromptedClip
from sam2lite_mobile.package.manifest import GateResult, finite_db
from sam2lite_mobile.runtime.engine import Engine, EngineDescription
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import Tracker

Array = NDArray[np.float32]


def snr_db(reference: Array, output: Array) -> float:
    """10 log10(sum ref^2 / sum (ref - out)^2), in float64; inf where both are equal, -inf where out is not finite."""
    if not np.isfinite(output).all():
        return -math.inf
    ref, out = reference.astype(np.float64), output.astype(np.float64)
    noise = float(np.square(ref - out).sum())
    signal = float(np.square(ref).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def mask_iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 where both are empty."""
    union = int(np.count_nonzero(first | second))
    return 1.0 if union == 0 else int(np.count_nonzero(first & second)) / union


def engine_in_words(description: EngineDescription) -> str:
    """One line about an engine, for reports."""
    detail = f", {description.detail}" if description.detail else ""
    return f"{description.name} {description.version} {description.precision}{detail}"[:500]


def graph_gate(
    spec: GraphSpec,
    reference: Mapping[str, Array],
    outputs: Mapping[str, Array],
    *,
    target: str,
    precision: str,
    engine: str,
) -> list[GateResult]:
    """One result per output of a graph."""
    limit = graph_limit(target, precision, spec.graph)
    results = []
    for tensor in spec.outputs:
        measured = finite_db(snr_db(reference[tensor.name], outputs[tensor.name]))
        results.append(
            _result(limit, max(measured, -1e6), precision, engine, graph=spec.id, tensor=tensor.name, size=spec.size)
        )
    return results


def lowering_gate(spec: GraphSpec, counted: Mapping[str, float], *, precision: str) -> list[GateResult]:
    """One result per measure that was counted in the program of a graph."""
    return [
        _result(
            lowering_limit(measure),
            value,
            precision,
            "read back from the file",
            graph=spec.id,
            size=spec.size,
            kind="lowering",
        )
        for measure, value in counted.items()
    ]


def track_clip(engine: Engine, clip: PromptedClip, *, size: int) -> list[NDArray[np.bool_]]:
    """The masks of a clip tracked from the first frame's mask, as an app would: every frame through the runtime."""
    tracker = Tracker(engine, size=size)
    masks = [tracker.step(clip.frames[0], prompts={1: Prompt.from_mask(clip.mask)}).objects[1].mask]
    masks += [tracker.step(frame).objects[1].mask for frame in clip.frames[1:]]
    return masks


def clip_gate(
    reference: Engine, candidate: Engine, clip: PromptedClip, *, size: int, precision: str
) -> tuple[list[GateResult], int]:
    """Mask IoU of two engines that each track the clip with their own memory, worst and median; and the worst frame."""
    pairs = zip(track_clip(reference, clip, size=size)[1:], track_clip(candidate, clip, size=size)[1:], strict=True)
    agreement = [mask_iou(a, b) for a, b in pairs]
    name = f"{clip.name}, {len(clip.frames)} frames, mask prompt"
    engine = engine_in_words(candidate.describe())
    results = [
        worst_frame_gate(agreement, sequence=clip.name, clip=name, size=size, precision=precision, engine=engine),
        median_frame_gate(agreement, clip=name, size=size, precision=precision, engine=engine),
    ]
    return results, int(np.argmin(agreement)) + 1


def worst_frame_gate(
    agreement: Sequence[float], *, sequence: str, clip: str, size: int, precision: str, engine: str
) -> GateResult:
    """The least mask IoU of two engines, out of that of each frame. clip: the sequence and what was done, in words."""
    limit = worst_frame_limit(precision, sequence)
    return _result(limit, min(agreement), precision, engine, clip=clip, size=size)


def median_frame_gate(agreement: Sequence[float], *, clip: str, size: int, precision: str, engine: str) -> GateResult:
    """The median mask IoU of two engines, out of that of each frame."""
    return _result(median_frame_limit(precision), float(np.median(agreement)), precision, engine, clip=clip, size=size)


def require_passed(results: Iterable[GateResult]) -> None:
    """Raise GateError that names every missed gate: graph and tensor or clip, measure, limit."""
    missed = [result for result in results if not result.passed]
    if missed:
        listed = "; ".join(
            f"{_subject(r)} ({r.precision}): {r.measure} {r.measured:.4g}, "
            f"limit {r.bound.replace('_', ' ')} {r.limit:g}"
            for r in missed[:8]
        )
        more = f" and {len(missed) - 8} more" if len(missed) > 8 else ""
        raise GateError(
            explain(
                "gates",
                expected="every measure within its limit",
                got=f"{len(missed)} missed: {listed}{more}",
                do="nothing was written; compare the graph in fp32 first, then layer by layer",
            )
        )


def _subject(result: GateResult) -> str:
    if result.kind == "clip":
        return f"clip {result.clip} at {result.size} px"
    return f"{result.graph} {result.tensor or 'program'}"


def _result(
    limit: Limit,
    measured: float,
    precision: str,
    engine: str,
    *,
    graph: str | None = None,
    tensor: str | None = None,
    clip: str | None = None,
    size: int | None = None,
    kind: Literal["graph", "clip", "lowering"] | None = None,
) -> GateResult:
    return GateResult(
        kind=kind or ("graph" if graph else "clip"),
        graph=graph,
        tensor=tensor,
        clip=clip,
        size=size,
        measure=limit.measure,
        measured=round(measured, 6),
        bound=limit.bound,
        limit=limit.value,
        passed=limit.holds(round(measured, 6)),
        precision=precision,
        engine=engine,
    )
