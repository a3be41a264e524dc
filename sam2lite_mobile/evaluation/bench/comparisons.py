"""Which subjects of a run are compared with which, by what they are: the ratios that a benchmark reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sam2lite_mobile.evaluation.bench.results import BytesRatio, Memory, Ratio
from sam2lite_mobile.evaluation.bench.rounds import paired_ratio
from sam2lite_mobile.evaluation.bench.subjects import EAGER, PEER, TORCH, TOTAL, FrameTimes, SubjectFacts, Variant

FLOAT = "fp32"
GRAPH_PARTS = ("image_encoder", "mask_decoder")
"""Graphs whose ratios are reported beside the whole frame's where two runtimes, or two recipes, meet."""
REFERENCE_RUNTIME = "tflite"
"""What other packages in float32 are compared with."""
PEAK_MEMORY, DISK = "peak memory", "size on disk"


@dataclass(frozen=True)
class Pair:
    """A subject and what it is compared with, by name."""

    subject: str
    reference: str
    parts: tuple[str, ...]


def compared_pairs(facts: Sequence[SubjectFacts]) -> list[Pair]:
    """Every pair of a run.

    Everything with the peer; the tuned torch engine with the eager student; a package with both of them, in float32
    also with TFLite's, in another recipe with its own float32. Pairs are of one student at one size, but the peer's.
    """
    names = {each.name for each in facts}
    pairs = [Pair(each.name, PEER, (TOTAL,)) for each in facts if PEER in names and each.name != PEER]
    for each in facts:
        for reference, parts in _references(each):
            if reference != each.name and reference in names:
                pairs.append(Pair(each.name, reference, parts))
    return pairs


def _references(facts: SubjectFacts) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of what a subject is compared with, if they ran, and the parts."""
    mine = facts.variant
    if mine is None or mine.runtime == EAGER:
        return

    def named(runtime: str) -> str:
        return Variant(mine.student, runtime).name(facts.size)

    yield named(EAGER), (TOTAL,)
    if mine.runtime == TORCH:
        return
    yield named(TORCH), (TOTAL,)
    if mine.recipe == FLOAT:
        yield named(REFERENCE_RUNTIME), (TOTAL, *GRAPH_PARTS)
    else:
        yield named(mine.runtime), (TOTAL, *GRAPH_PARTS)


def time_ratios(facts: Sequence[SubjectFacts], frames: Mapping[str, Sequence[FrameTimes]]) -> list[Ratio]:
    """Ratios of time of every pair, part by part; a part that one of the two does not have is left out."""
    found = []
    for pair in compared_pairs(facts):
        mine, theirs = frames[pair.subject], frames[pair.reference]
        for part in pair.parts:
            if all(part in frame.parts for frame in (*mine, *theirs)):
                ratio = paired_ratio(mine, theirs, part=part)
                spread = (ratio.wall_low, ratio.wall_high)
                found.append(Ratio(pair.subject, pair.reference, part, ratio.wall, *spread, ratio.cpu))
    return found


def byte_ratios(facts: Sequence[SubjectFacts], memory: Mapping[str, Memory]) -> list[BytesRatio]:
    """Ratios of peak memory of every pair, and of size on disk of every pair of packages of one runtime."""
    by_name = {each.name: each for each in facts}
    found = []
    for pair in compared_pairs(facts):
        mine, theirs = by_name[pair.subject], by_name[pair.reference]
        if mine.name in memory and theirs.name in memory:
            ratio = memory[mine.name].peak_bytes / memory[theirs.name].peak_bytes
            found.append(BytesRatio(mine.name, theirs.name, PEAK_MEMORY, ratio))
        if mine.disk_bytes and theirs.disk_bytes and _runtime(mine) == _runtime(theirs):
            found.append(BytesRatio(mine.name, theirs.name, DISK, mine.disk_bytes / theirs.disk_bytes))
    return found


def _runtime(facts: SubjectFacts) -> str | None:
    return None if facts.variant is None else facts.variant.runtime
