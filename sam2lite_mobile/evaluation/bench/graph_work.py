"""What share of the machine's peak each graph of a student in float32 reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sam2lite_mobile.evaluation.bench.comparisons import FLOAT
from sam2lite_mobile.evaluation.bench.flops import graph_flops
from sam2lite_mobile.evaluation.bench.matrix_product import SCOPE, MachinePeak, machine_peak, peak_share
from sam2lite_mobile.evaluation.bench.results import GraphWork, Peak
from sam2lite_mobile.evaluation.bench.subjects import FrameTimes, SubjectFacts


def measured_work(
    facts: Sequence[SubjectFacts], frames: Mapping[str, Sequence[FrameTimes]], *, product: Sequence[FrameTimes]
) -> tuple[Peak, dict[str, dict[str, GraphWork]]]:
    """The machine's peak, and the work of each graph by subject and graph.

    frames: of all subjects, by name. product: those of the `MatrixProduct` in the same rounds. Subjects in other
    precisions, the peer, and students that are not published have no entry.
    """
    peak = machine_peak(product)
    work = {}
    for each in facts:
        if each.variant is not None and each.variant.recipe == FLOAT:
            flops = graph_flops(each.variant.student, size=each.size, bank_tokens=each.bank_tokens)
            work[each.name] = _work(flops, frames[each.name], peak)
    return Peak(peak.library, peak.gflops, SCOPE), work


def _work(flops: Mapping[str, int], frames: Sequence[FrameTimes], peak: MachinePeak) -> dict[str, GraphWork]:
    """The work of each graph that ran on every frame."""
    found = {}
    for graph, count in flops.items():
        if all(graph in frame.parts for frame in frames):
            share = peak_share(count, frames, graph, peak)
            found[graph] = GraphWork(count, share * peak.gflops, share)
    return found
