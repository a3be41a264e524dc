"""The paired bootstrap: known answers, objects counted as in the mean, the same draws every time."""

from __future__ import annotations

import pytest

from sam2lite_mobile.evaluation.bootstrap import paired_interval
from sam2lite_mobile.evaluation.results import ObjectScores, SequenceResult, sequence_result


def scored(name: str, *values: float) -> SequenceResult:
    """A sequence with one object for each value, whose J and F it is in every frame."""
    objects = [ObjectScores(number + 1, 0, [value] * 4, [value] * 4) for number, value in enumerate(values)]
    return sequence_result(name, objects, shape=(4, 4), latency_ms={})


def test_equal_gains_have_no_width() -> None:
    before = [scored(name, 0.5) for name in "abc"]
    interval = paired_interval(before, [scored(name, 0.52) for name in "abc"])
    assert (interval.difference, interval.low, interval.high) == pytest.approx((2, 2, 2))
    assert str(interval) == "+2.00 (95%: +2.00 to +2.00)"


def test_width_is_that_of_the_sequences_and_pairs_are_kept_together() -> None:
    """Scores differ widely from sequence to sequence, gains hardly: the interval is of the gains."""
    before = [scored(name, 0.1 + 0.08 * index) for index, name in enumerate("abcdefghij")]
    gains = [0.01 * (index % 3) for index in range(10)]
    after = [scored(each.name, each.jf_mean + gain) for each, gain in zip(before, gains, strict=True)]
    interval = paired_interval(before, after)
    assert interval.difference == pytest.approx(0.9)
    assert 0.3 < interval.low < interval.difference < interval.high < 1.5
    spread = (sum((100 * gain - 0.9) ** 2 for gain in gains) / 10 / 10) ** 0.5  # standard error of the mean
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * spread, rel=0.1)


def test_every_object_counts_the_same() -> None:
    before = [scored("one", 0.5), scored("three", 0.5, 0.5, 0.5)]
    after = [scored("one", 0.5), scored("three", 0.6, 0.6, 0.6)]
    interval = paired_interval(before, after)
    assert interval.difference == pytest.approx(7.5)
    assert (interval.low, interval.high) == pytest.approx((0, 10))


def test_draws_are_those_of_the_seed() -> None:
    before = [scored(name, 0.5) for name in "abcdefg"]
    after = [scored(name, 0.5 + 0.013 * index) for index, name in enumerate("abcdefg")]
    assert paired_interval(before, after) == paired_interval(before, after)
    assert paired_interval(before, after, seed=1) != paired_interval(before, after, seed=2)


@pytest.mark.parametrize("after", [[], [scored("b", 0.5)], [scored("a", 0.5, 0.5)]])
def test_results_of_other_sequences_or_objects_are_refused(after: list[SequenceResult]) -> None:
    with pytest.raises(ValueError, match=r"same sequences|other objects"):
        paired_interval([scored("a", 0.5)], after)
