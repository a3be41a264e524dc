"""Poses and the maps that render them."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.training.motion import (
    Ripple,
    Track,
    View,
    frame_map,
    object_map,
    random_ripple,
    smooth_path,
)

VIEW = View(aspect=16 / 9, size_px=64)


def track(frames: int = 1, **fields: float) -> Track:
    values = {"x": 0.5, "y": 0.5, "scale": 0.01, "angle": 0.0, "squeeze": 1.0, "tilt_x": 0.0, "tilt_y": 0.0} | fields
    return Track(**{name: np.full(frames, value) for name, value in values.items()})


def project(pose: np.ndarray, x: float, y: float) -> np.ndarray:
    point = pose @ (x, y, 1.0)
    return point[:2] / point[2]


@given(
    x=st.floats(0, 1.7),
    y=st.floats(0, 1),
    angle=st.floats(-3, 3),
    tilt=st.floats(-0.5, 0.5),
    squeeze=st.sampled_from((1.0, -1.0, 0.6)),
)
def test_pivot_lands_at_its_place_in_the_frame(x: float, y: float, angle: float, tilt: float, squeeze: float):
    [pose] = track(x=x, y=y, angle=angle, tilt_x=tilt, squeeze=squeeze).poses((30.0, 20.0), VIEW)

    assert project(pose, 30, 20) == pytest.approx((x / VIEW.aspect * 64 - 0.5, y * 64 - 0.5))


def test_frame_is_stretched_after_turning():
    # A quarter turn takes 10 source px along x to 10 * 0.01 plane heights along y: 0.1 * 64 output px.
    [pose] = track(angle=np.pi / 2).poses((0.0, 0.0), VIEW)

    assert project(pose, 10, 0) - project(pose, 0, 0) == pytest.approx((0, 6.4))
    assert project(pose, 0, 10) - project(pose, 0, 0) == pytest.approx((-6.4 / VIEW.aspect, 0))


def test_negative_squeeze_mirrors_along_x():
    [plain] = track().poses((0.0, 0.0), VIEW)
    [mirrored] = track(squeeze=-1).poses((0.0, 0.0), VIEW)

    assert project(mirrored, 7, 3) == pytest.approx(project(plain, -7, 3))


def test_tilt_makes_the_far_side_smaller():
    [pose] = track(tilt_x=1.0).poses((0.0, 0.0), VIEW)

    near, far = project(pose, 0, 0) - project(pose, -10, 0), project(pose, 10, 0) - project(pose, 0, 0)
    assert far[0] < near[0]


@pytest.mark.parametrize("size_px", [60, 64])
def test_frame_map_is_the_inverse_of_the_pose(size_px: int):
    view = View(1.5, size_px)
    [pose] = track(x=0.7, y=0.4, angle=0.5).poses((30.0, 20.0), view)

    points = frame_map(pose, view, ripple=None, moment=0)
    assert points.shape == (size_px, size_px, 2)
    for column, row in ((0, 0), (size_px - 1, 0), (17, 41), (size_px - 1, size_px - 1)):
        assert project(pose, *points[row, column].astype(float)) == pytest.approx((column, row), abs=0.01)


@given(x=st.floats(-0.5, 2.2), y=st.floats(-0.5, 1.5), angle=st.floats(-3, 3), scale=st.floats(0.002, 0.05))
def test_object_map_is_the_part_of_the_frame_map_that_shows_the_box(x: float, y: float, angle: float, scale: float):
    [pose] = track(x=x, y=y, angle=angle, scale=scale).poses((10.0, 15.0), VIEW)
    whole = frame_map(pose, VIEW, ripple=None, moment=0)
    shown = ((whole >= 0) & (whole <= (20, 30))).all(axis=2)

    part = object_map(pose, VIEW, ripple=None, moment=0, box=(0, 0, 20, 30))
    if part is None:
        assert not shown.any()
        return
    points, rows, columns = part
    assert np.array_equal(points, whole[rows, columns])
    shown[rows, columns] = False
    assert not shown.any()


def test_map_behind_the_horizon_points_outside_of_every_image():
    [pose] = track(x=0.2, tilt_x=1.0, scale=0.05).poses((0.0, 0.0), VIEW)
    source = np.full((9, 9), 255, dtype=np.uint8)

    points = frame_map(pose, VIEW, ripple=None, moment=0)
    seen = cv2.remap(source, np.ascontiguousarray(points), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    count, _ = cv2.connectedComponents((seen > 127).astype(np.uint8))
    assert count == 2  # background and one object, not its ghost beyond the horizon


def test_ripple_moves_points_and_changes_over_the_clip():
    ripple = Ripple(np.array([[0.1, 0.0]]), np.array([[0.0, 3.0]]), np.zeros(1), np.array([np.pi / 2]))

    assert ripple.displace(np.array([0.0, 5.0]), 0.0) == pytest.approx((0, 5))
    assert ripple.displace(np.array([0.0, 5.0]), 1.0) == pytest.approx((0, 8))
    assert ripple.displace(np.array([5 * np.pi, 5.0]), 0.0) == pytest.approx((5 * np.pi, 8))


def test_random_ripple_is_a_small_share_of_the_extent(rng: np.random.Generator):
    points = rng.uniform(0, 200, (500, 2))
    shifts = [random_ripple(rng, 200.0, strength=0.03).displace(points, 0.5) - points for _ in range(50)]

    spread = np.std(shifts)
    assert 0.5 * 0.03 * 200 < spread / np.sqrt(0.5) < 1.5 * 0.03 * 200


@given(seed=st.integers(0, 10**6), frames=st.integers(2, 12), drift=st.floats(-2, 2))
def test_smooth_path_starts_at_zero_and_arrives(seed: int, frames: int, drift: float):
    path = smooth_path(np.random.default_rng(seed), frames, drift=drift, sway=0.0)

    assert path[0] == 0
    assert path[-1] == pytest.approx(drift)
    assert smooth_path(np.random.default_rng(seed), frames, drift=drift, sway=0.1)[0] == pytest.approx(0)
