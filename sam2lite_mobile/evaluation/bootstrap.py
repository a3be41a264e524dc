"""Intervals for differences of J&F: how much of one hangs on which sequences happen to be in the set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sam2lite_mobile.evaluation.results import ObjectScores, SequenceResult, object_measures

DRAWS = 10_000
COVERAGE = 0.95


@dataclass(frozen=True)
class Interval:
    """A difference of means in points of 100, and the bounds between which COVERAGE of the draws lie."""

    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.difference:+.2f} ({COVERAGE:.0%}: {self.low:+.2f} to {self.high:+.2f})"


def paired_interval(before: Sequence[SequenceResult], after: Sequence[SequenceResult], *, seed: int = 0) -> Interval:
    """J&F of `after` less that of `before`, two evaluations of the same sequences.

    Percentile bootstrap (Efron 1979) over sequences: each draw takes as many sequences as there are, with replacement,
    each with all of its objects, and every object counts the same as in the mean itself. Sequences are what differs
    from set to set; frames of one sequence do not count as independent. With one sequence the interval is a point.
    Raises ValueError where the two are not of the same sequences and objects.
    """
    if [each.name for each in before] != [each.name for each in after] or not before:
        raise ValueError("paired interval: expected two results of the same sequences")
    sums = np.array([_summed_gain(a, b) for a, b in zip(before, after, strict=True)])
    counts = np.array([len(each.objects) for each in before])
    chosen = np.random.default_rng(seed).integers(len(sums), size=(DRAWS, len(sums)))
    means = 100 * sums[chosen].sum(1) / counts[chosen].sum(1)
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(100 * sums.sum() / counts.sum()), float(low), float(high))


def _summed_gain(before: SequenceResult, after: SequenceResult) -> float:
    """Sum over the objects of a sequence of what each gains in J&F."""
    if [each.object_id for each in before.objects] != [each.object_id for each in after.objects]:
        raise ValueError(f"paired interval: {before.name} has other objects in the two results")
    return sum(_jf(b) - _jf(a) for a, b in zip(before.objects, after.objects, strict=True))


def _jf(scores: ObjectScores) -> float:
    j, f = object_measures(scores)
    return (j.mean + f.mean) / 2
