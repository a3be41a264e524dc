"""Which frames of a video a clip takes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.training.video_clips import SPARSE_FRAMES, frame_indices


def indices(seed: int, length: int, frames: int, gap_max: int) -> list[int]:
    return frame_indices(np.random.default_rng(seed), length, frames=frames, gap_max=gap_max)


@given(seed=st.integers(0, 10**6), length=st.integers(2, 60), frames=st.integers(2, 16), gap_max=st.integers(1, 4))
def test_clip_stays_in_the_video_and_keeps_its_gap(seed: int, length: int, frames: int, gap_max: int):
    found = indices(seed, length, frames, gap_max)

    assert len(found) == frames
    assert all(0 <= index < length for index in found)
    steps = np.abs(np.diff(found))
    # At a turning point the way goes there and back, so the two frames are nearer than the gap.
    assert steps.max() <= gap_max
    if length <= SPARSE_FRAMES:
        assert (steps == 1).all()


def test_both_directions_all_gaps_and_all_starts_occur():
    drawn = [indices(seed, 40, 3, 4) for seed in range(400)]
    straight = {second - first for first, second, third in drawn if third - second == second - first}

    assert straight == {-4, -3, -2, -1, 1, 2, 3, 4}
    assert {first for first, _, _ in drawn} == set(range(40))


def test_clip_longer_than_the_video_runs_back_and_forth():
    [found] = {tuple(indices(seed, 3, 9, 1)) for seed in range(50)} & {(0, 1, 2, 1, 0, 1, 2, 1, 0)}

    assert found[0] == 0
