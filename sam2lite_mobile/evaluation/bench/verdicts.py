"""The limits of the table whose subjects ran, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from sam2lite_mobile.evaluation.bench.comparisons import PEAK_MEMORY
from sam2lite_mobile.evaluation.bench.limits import (
    GOAL_ROUNDS,
    GOAL_THREADS,
    MEMORY_LIMITS,
    PART_LIMITS,
    RATIO_LIMITS,
    RatioLimit,
)
from sam2lite_mobile.evaluation.bench.results import BytesRatio, Ratio, SubjectResult, Verdict
from sam2lite_mobile.evaluation.bench.subjects import TOTAL


def verdicts(
    subjects: Sequence[SubjectResult],
    ratios: Sequence[Ratio],
    bytes_ratios: Sequence[BytesRatio],
    *,
    dot_product: Sequence[str] | None,
) -> list[Verdict]:
    """Each limit whose subjects were measured. One whose subject, or whose reference, did not run is not judged.

    dot_product: the processor's instructions for 8-bit dot products, None where the system does not tell: limits that
    depend on them are then not judged either.
    """
    by_pair = {(each.subject, each.peer, each.part): each for each in ratios}
    by_bytes = {(each.subject, each.reference): each for each in bytes_ratios if each.what == PEAK_MEMORY}
    by_name = {each.name: each for each in subjects}
    found = []
    for bound in RATIO_LIMITS:
        ratio = by_pair.get((bound.subject, bound.reference, bound.part))
        limit, condition = _limit(bound, dot_product)
        if ratio is not None and limit is not None:
            part = "whole frame" if bound.part == TOTAL else bound.part
            what = f"{bound.subject} / {bound.reference}, {part}{condition}"
            found.append(_verdict(what, ratio.wall, limit))
    for memory in MEMORY_LIMITS:
        if (measured := by_bytes.get((memory.subject, memory.reference))) is not None:
            what = f"{memory.subject} / {memory.reference}, {PEAK_MEMORY}"
            found.append(_verdict(what, measured.ratio, memory.limit))
    for part_limit in PART_LIMITS:
        subject = by_name.get(part_limit.subject)
        if subject is not None and part_limit.part in subject.parts:
            what = f"{part_limit.subject} {part_limit.part}, ms a frame"
            found.append(_verdict(what, subject.parts[part_limit.part].wall_ms.p50, part_limit.limit_ms))
    return found


def _limit(bound: RatioLimit, dot_product: Sequence[str] | None) -> tuple[float | None, str]:
    """The limit that holds on this processor, and how a verdict says so."""
    if bound.dot_limit is None:
        return bound.limit, ""
    if dot_product is None:
        return None, ""
    if dot_product:
        return bound.dot_limit, f" (with {', '.join(dot_product)})"
    return bound.limit, " (no dot-product instructions)"


def _verdict(what: str, measured: float, limit: float) -> Verdict:
    return Verdict(what, measured, limit, measured <= limit)


def goal_notes(ratios: Sequence[Ratio], *, rounds: int, threads: int, dot_product: Sequence[str] | None) -> list[str]:
    """What keeps the verdicts of a run from being those of the goals, which are stated for 30 rounds on one thread."""
    pairs = {(each.subject, each.peer, each.part) for each in ratios}
    judged = [bound for bound in RATIO_LIMITS if (bound.subject, bound.reference, bound.part) in pairs]
    notes = []
    if judged and (rounds < GOAL_ROUNDS or threads != GOAL_THREADS):
        notes.append(
            f"limits are stated for medians of {GOAL_ROUNDS} rounds or more on {GOAL_THREADS} thread; "
            f"this run had {rounds} on {threads}"
        )
    if dot_product is None and any(bound.dot_limit is not None for bound in judged):
        notes.append("this system does not tell its dot-product instructions: the limits of 8-bit speed are not judged")
    return notes
