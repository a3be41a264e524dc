"""Random paths keep their promises: cameras stay inside images, occluders meet their target, objects come back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.training.clip_settings import ClipSettings
from sam2lite_mobile.training.motion import View
from sam2lite_mobile.training.motion_paths import absence, camera_poses, crossing_track, object_track, strong_zoom

VIEW = View(aspect=16 / 9, size_px=64)
SEEDS = st.integers(0, 10**6)


@given(seed=SEEDS, wander=st.sampled_from((0.0, 0.3)), strong=st.sampled_from((0.0, 1.0)))
def test_upright_camera_shows_nothing_beyond_the_image(seed: int, wander: float, strong: float):
    settings = ClipSettings(strong_zoom=strong)
    rng = np.random.default_rng(seed)
    focus = rng.uniform((0, 0), (120, 90), (5, 2))

    poses = camera_poses(rng, settings, view=VIEW, size=(120, 90), focus=focus, wander=wander, angle_limit=0)
    for pose in poses:
        for corner in ((-0.5, -0.5), (63.5, 63.5)):
            x, y, _ = np.linalg.inv(pose) @ (*corner, 1)
            assert -0.501 <= x <= 119.501
            assert -0.501 <= y <= 89.501


@given(seed=SEEDS)
def test_standing_camera_has_one_pose(seed: int):
    settings = ClipSettings(strong_zoom=0)
    focus = np.full((4, 2), 50.0)

    poses = camera_poses(
        np.random.default_rng(seed), settings, view=VIEW, size=(200, 100), focus=focus, wander=0.0, angle_limit=0.1
    )
    assert np.ptp(poses, axis=0).max() == pytest.approx(0)


@given(seed=SEEDS)
def test_object_covers_the_wanted_share_in_the_first_frame(seed: int):
    settings = ClipSettings(turn=0, perspective=0)
    track = object_track(np.random.default_rng(seed), settings, view=VIEW, area_px=900, share=0.02, leaves=False)

    [first, *_] = track.poses((0, 0), VIEW)
    area = 900 * abs(first[0, 0] * first[1, 1] - first[0, 1] * first[1, 0]) / VIEW.size_px**2
    assert 0.02 * 0.8 < area < 0.02 * 1.2  # squeezed by 0.85 to 1.15


@given(seed=SEEDS)
def test_small_source_is_not_magnified_beyond_its_resolution(seed: int):
    track = object_track(np.random.default_rng(seed), ClipSettings(), view=VIEW, area_px=100, share=0.5, leaves=False)

    assert track.scale[0] == pytest.approx(2.5 / 288)


@given(seed=SEEDS)
def test_approaching_object_does_not_outgrow_the_frame(seed: int):
    settings = ClipSettings(strong_zoom=1.0)
    track = object_track(np.random.default_rng(seed), settings, view=VIEW, area_px=90_000, share=0.3, leaves=False)

    assert (track.scale * 300).max() < 0.901


@given(seed=SEEDS, frames=st.integers(3, 8))
def test_leaving_object_is_wholly_out_of_the_frame_and_starts_inside(seed: int, frames: int):
    settings = ClipSettings(frames=frames, strong_zoom=0, perspective=0)
    track = object_track(np.random.default_rng(seed), settings, view=VIEW, area_px=900, share=0.05, leaves=True)

    extent = track.scale * 30
    out = (track.x + extent / 2 < 0) | (track.x - extent / 2 > VIEW.aspect)
    assert not out[0]
    assert out.any()


@given(seed=SEEDS, frames=st.integers(2, 12))
def test_absence_spares_the_first_frame_and_lasts_three_frames_at_most(seed: int, frames: int):
    away = absence(np.random.default_rng(seed), frames)

    assert away[0] == 0
    assert 1 <= np.count_nonzero(away == 1) <= 3
    assert ((away >= 0) & (away <= 1)).all()


@given(seed=SEEDS, frames=st.integers(2, 8))
def test_crossing_object_starts_apart_and_meets_its_target(seed: int, frames: int):
    rng = np.random.default_rng(seed)
    settings = ClipSettings(frames=frames)
    target = np.tile((0.8, 0.5), (frames, 1))
    track = object_track(rng, settings, view=VIEW, area_px=400, share=0.01, leaves=False)

    crossing = crossing_track(rng, track, target=target, reach=0.2)
    distance = np.hypot(crossing.x - 0.8, crossing.y - 0.5)
    assert distance[0] > 0.1
    assert distance[1:].min() < 0.16
    assert np.array_equal(crossing.scale, track.scale)


@given(seed=SEEDS)
def test_strong_zoom_starts_at_one_and_stays_within_its_factor(seed: int):
    path = strong_zoom(np.random.default_rng(seed), ClipSettings(), 4)

    assert path[0] == 1
    assert 1.4 <= max(path[-1], 1 / path[-1]) <= 2.5
    assert (np.diff(path) > 0).all() or (np.diff(path) < 0).all()
