"""Changes of look: what they do to pixels, and that they are the same in every frame of a clip."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2lite_mobile.training.augment import add_noise, change_look, colour_matrix, motion_blur_kernel
from sam2lite_mobile.training.clip_settings import ClipSettings

SILENT = {"colour": 0.0, "motion_blur": 0.0, "soft": 0.0, "noise": 0.0, "jpeg": 0.0}


def texture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_no_change_of_look_leaves_frames_alone(rng: np.random.Generator):
    frame = texture()

    [same] = change_look(rng, [frame], ClipSettings(**SILENT))
    assert np.array_equal(same, frame)


@pytest.mark.parametrize("change", ["colour", "motion_blur", "soft", "jpeg"])
def test_one_look_for_the_whole_clip(rng: np.random.Generator, change: str):
    frame = texture()

    first, second = change_look(rng, [frame, frame.copy()], ClipSettings(**(SILENT | {change: 1.0})))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, frame)
    assert first.shape == frame.shape
    assert first.dtype == np.uint8


def test_colour_range_zero_is_the_identity(rng: np.random.Generator):
    assert colour_matrix(rng, 0.0) == pytest.approx(np.hstack([np.eye(3), np.zeros((3, 1))]))


@given(seed=st.integers(0, 10**6))
def test_grey_stays_nearly_grey_and_within_brightness_and_contrast(seed: int):
    matrix = colour_matrix(np.random.default_rng(seed), 0.2)

    grey = matrix @ (127.5, 127.5, 127.5, 1.0)
    assert np.ptp(grey) <= 0.11 * 127.5 * 1.2 * 1.2
    low, high = 127.5 * (0.8 * 0.8 * 0.95 + 0), 127.5 * (1.2 * 1.2 * 1.05 + 0.2)
    assert low <= grey.min()
    assert grey.max() <= high


@given(seed=st.integers(0, 10**6))
def test_motion_blur_keeps_brightness_and_goes_through_the_centre(seed: int):
    kernel = motion_blur_kernel(np.random.default_rng(seed))

    assert kernel.shape in {(3, 3), (5, 5)}
    assert kernel.sum() == pytest.approx(1)
    assert kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] > 0
    assert np.count_nonzero(kernel) >= 3


def test_noise_differs_between_frames_and_is_of_the_stated_size(rng: np.random.Generator):
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)

    first, second = add_noise(rng, [grey, grey])
    assert not np.array_equal(first, second)
    assert 1.8 <= first.std() <= 8.5
    assert abs(float(first.mean()) - 128) < 1
