"""The DAVIS measures: values that can be counted by hand, and the published code's values on real masks."""

from __future__ import annotations

import json
import time
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.evaluation.datasets import DavisLayout, data_root, read_mask
from sam2lite_mobile.evaluation.davis import (
    boundary_map,
    boundary_measure,
    boundary_radius,
    evaluated_frames,
    region_similarity,
    sequence_statistics,
)
from sam2lite_mobile.media.label_maps import read_label_map

TOLERANCE = 1e-6
MASK_SETS = ("copy_first", "dilated_shifted", "osvos_union")
SUBSET_STEP = 15


def square(top: int, left: int, side: int, *, shape: tuple[int, int] = (48, 64)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[top : top + side, left : left + side] = True
    return mask


def test_region_similarity_is_shared_area_over_joint_area() -> None:
    # Two 4 x 4 squares, one shifted by one column: 12 shared pixels, 20 in all.
    assert region_similarity(square(8, 8, 4), square(8, 9, 4)) == 12 / 20


def test_region_similarity_of_two_empty_masks_is_one() -> None:
    empty = np.zeros((16, 16), dtype=np.bool_)
    assert region_similarity(empty, empty) == 1.0
    assert region_similarity(empty, square(2, 2, 3, shape=(16, 16))) == 0.0


def test_boundary_lies_on_the_upper_left_of_a_change_and_skips_the_image_border() -> None:
    mask = np.array([[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1]], dtype=np.bool_)
    expected = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=np.bool_)
    np.testing.assert_array_equal(boundary_map(mask), expected)


def test_boundary_radius_is_eight_at_480p_and_rounds_up() -> None:
    assert boundary_radius((480, 854)) == 8
    assert boundary_radius((3, 4)) == 1


def test_boundary_measure_forgives_a_shift_within_the_radius_only() -> None:
    truth = square(20, 20, 20, shape=(100, 100))  # radius 2
    assert boundary_measure(truth, square(22, 20, 20, shape=(100, 100))) == 1.0
    assert boundary_measure(truth, square(23, 20, 20, shape=(100, 100))) < 1.0


def test_boundary_measure_counts_distance_along_the_diagonal_as_euclidean() -> None:
    # Radius 2: a shift by (2, 2) is 2.83 away at the corners, so not everything matches.
    truth, moved = square(20, 20, 20, shape=(100, 100)), square(22, 22, 20, shape=(100, 100))
    assert 0.9 < boundary_measure(truth, moved) < 1.0


def test_boundary_measure_is_zero_if_only_one_mask_has_a_boundary() -> None:
    empty, full = np.zeros((32, 32), dtype=np.bool_), np.ones((32, 32), dtype=np.bool_)
    assert boundary_measure(empty, square(8, 8, 4, shape=(32, 32))) == 0.0
    assert boundary_measure(square(8, 8, 4, shape=(32, 32)), empty) == 0.0
    assert boundary_measure(empty, full) == 1.0


@given(st.integers(0, 2**32 - 1))
def test_measures_are_symmetric_and_one_for_equal_masks(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = random.random((2, 24, 40)) > 0.7
    assert region_similarity(first, second) == region_similarity(second, first)
    assert boundary_measure(first, second) == pytest.approx(boundary_measure(second, first), abs=1e-12)
    assert region_similarity(first, first) == boundary_measure(first, first) == 1.0


@pytest.mark.parametrize("mask", [np.zeros((4, 4), dtype=np.uint8), np.zeros((4, 5), dtype=np.bool_)])
def test_measures_refuse_masks_that_do_not_match(mask: NDArray[Any]) -> None:
    truth = np.zeros((4, 4), dtype=np.bool_)
    for measure in (region_similarity, boundary_measure):
        with pytest.raises(ContractError, match=r"expected bool \(height, width\) \(4, 4\), got"):
            measure(truth, mask)


def test_statistics_of_eight_frames_use_quarters_with_shared_ends() -> None:
    # Bounds 0, 2, 4, 5, 7: the first stretch is frames 0..2, the last one frames 5..7.
    statistics = sequence_statistics([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3])
    assert statistics.mean == pytest.approx(0.65)
    assert statistics.recall == 5 / 8  # 0.5 itself is not above 0.5
    assert statistics.decay == pytest.approx(0.9 - 0.4)


def test_statistics_of_long_sequences_do_not_wrap_around() -> None:
    values = [1.0] * 300 + [
        0.0
    ] * 300  # the published code keeps the bounds in 8 bits and goes wrong from 256 frames on
    assert sequence_statistics(values).decay == pytest.approx(1.0)


def test_statistics_of_nothing_are_refused() -> None:
    with pytest.raises(ContractError, match="expected at least one, got 0"):
        sequence_statistics(evaluated_frames([1.0, 0.5]))


def test_boundary_measure_takes_under_ten_milliseconds_at_480p() -> None:
    truth, mask = square(100, 200, 240, shape=(480, 854)), square(103, 207, 240, shape=(480, 854))
    boundary_measure(truth, mask)
    durations = []
    for _ in range(9):
        start = time.perf_counter()
        boundary_measure(truth, mask)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.010


def reference() -> dict[str, Any]:
    root = data_root()
    if root is None or not (root / "davis_metric_reference.json").is_file():
        pytest.skip("no data folder: set SAM2LITE_DATA")
    loaded: dict[str, Any] = json.loads((root / "davis_metric_reference.json").read_text())
    return loaded


def predicted(mask_set: str, sequence: str, index: int) -> NDArray[np.bool_]:
    """Mask of one frame of a reference mask set, by the recipe in the reference file."""
    root = data_root()
    assert root is not None
    frames = DavisLayout(root / "davis").frames(sequence)
    if mask_set == "osvos_union":
        return read_label_map(root / "davis" / "peer_masks" / "osvos" / sequence / f"{frames[index].name}.png") > 0
    if mask_set == "copy_first":
        return read_mask(frames[0].annotation) > 0
    offsets = np.arange(-5, 6)
    disk = (offsets[:, None] ** 2 + offsets**2 <= 25).astype(np.uint8)
    dilated = cv2.dilate((read_mask(frames[index].annotation) > 0).astype(np.uint8), disk) > 0
    moved = np.zeros_like(dilated)
    moved[3:, 7:] = dilated[:-3, :-7]
    return moved


def measured(mask_set: str, sequence: str, indices: range) -> tuple[list[float], list[float]]:
    root = data_root()
    assert root is not None
    frames = DavisLayout(root / "davis").frames(sequence)
    j, f = [], []
    for index in indices:
        truth, mask = read_mask(frames[index].annotation) > 0, predicted(mask_set, sequence, index)
        j.append(region_similarity(truth, mask))
        f.append(boundary_measure(truth, mask))
    return j, f


@pytest.mark.parametrize("mask_set", MASK_SETS)
def test_measures_equal_the_published_code_on_every_fifteenth_frame(mask_set: str) -> None:
    for sequence, expected in reference()["results"][mask_set]["sequences"].items():
        indices = range(0, expected["frames"], SUBSET_STEP)
        j, f = measured(mask_set, sequence, indices)
        np.testing.assert_allclose(j, expected["J_all"][::SUBSET_STEP], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(f, expected["F_all"][::SUBSET_STEP], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("mask_set", MASK_SETS)
def test_statistics_equal_the_published_code(mask_set: str) -> None:
    sequences = reference()["results"][mask_set]["sequences"]
    for expected in sequences.values():
        for measure in "JF":
            statistics = sequence_statistics(evaluated_frames(expected[f"{measure}_all"]))
            assert statistics.mean == pytest.approx(expected[f"{measure}_mean"], abs=TOLERANCE)
            assert statistics.recall == pytest.approx(expected[f"{measure}_recall"], abs=TOLERANCE)
            assert statistics.decay == pytest.approx(expected[f"{measure}_decay"], abs=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("mask_set", MASK_SETS)
def test_measures_equal_the_published_code_on_all_frames(mask_set: str) -> None:
    results = reference()["results"][mask_set]
    means: dict[str, list[float]] = {"J": [], "F": []}
    for sequence, expected in results["sequences"].items():
        for measure, values in zip("JF", measured(mask_set, sequence, range(expected["frames"])), strict=True):
            np.testing.assert_allclose(values, expected[f"{measure}_all"], rtol=0, atol=TOLERANCE)
            means[measure].append(sequence_statistics(evaluated_frames(values)).mean)
    for measure, values in means.items():
        assert np.mean(values) == pytest.approx(results["global"][f"{measure}_mean"], abs=TOLERANCE)
