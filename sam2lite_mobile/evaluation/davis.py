"""The DAVIS measures: region similarity J, boundary measure F, and their statistics over a sequence.

Definitions: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
section 4, and the published code `davisvideochallenge/davis2017-evaluation` (davis2017/metrics.py, davis2017/utils.py).
J and F agree with that code to rounding; the boundaries are matched by one dilation with a disk, as there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.media.optional import import_media_library

BOUNDARY_TOLERANCE = 0.008
"""How far two boundary pixels may lie apart to match, as a share of the image diagonal (`bound_th` there)."""
RECALL_THRESHOLD = 0.5
"""A frame counts as recalled where its value is above this."""
DECAY_BINS = 4
"""Decay compares the first with the last of this many stretches of a sequence."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SequenceStatistics:
    """Mean, recall (share of frames above 0.5) and decay (first quarter's mean minus last quarter's) of one measure."""

    mean: float
    recall: float
    decay: float


def region_similarity(truth: Mask, mask: Mask) -> float:
    """J: intersection over union of two masks, 0..1; 1 where both are empty.

    truth, mask: bool (height, width). Raises ContractError for other shapes or dtypes.
    """
    _check_pair(truth, mask)
    union = int((truth | mask).sum())
    return 1.0 if union == 0 else int((truth & mask).sum()) / union


def boundary_measure(truth: Mask, mask: Mask, *, tolerance: float = BOUNDARY_TOLERANCE) -> float:
    """F: harmonic mean of boundary precision and boundary recall, 0..1; 1 where both masks have no boundary.

    A boundary pixel is matched if a boundary pixel of the other mask lies within `boundary_radius` of it.
    truth, mask: bool (height, width). tolerance: a share of the diagonal, DAVIS's unless another is wanted. Raises
    ContractError for other shapes or dtypes.
    """
    _check_pair(truth, mask)
    truth_boundary, mask_boundary = boundary_map(truth), boundary_map(mask)
    truth_count, mask_count = int(truth_boundary.sum()), int(mask_boundary.sum())
    if truth_count == 0 or mask_count == 0:
        # One empty boundary leaves precision or recall at 0, and with it their harmonic mean.
        return 1.0 if truth_count == mask_count else 0.0
    radius = boundary_radius(truth.shape, tolerance=tolerance)
    precision = int((mask_boundary & _dilate(truth_boundary, radius)).sum()) / mask_count
    recall = int((truth_boundary & _dilate(mask_boundary, radius)).sum()) / truth_count
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def boundary_radius(shape: tuple[int, ...], *, tolerance: float = BOUNDARY_TOLERANCE) -> int:
    """Radius in pixels of the disk that matches boundaries of a (height, width) image: 8 at 480 x 854."""
    return math.ceil(tolerance * math.hypot(shape[0], shape[1]))


def boundary_map(mask: Mask) -> Mask:
    """The one-pixel boundary of a mask: pixels that differ from their right, lower or lower-right neighbour.

    mask: bool (height, width). The last row is compared with its right neighbour only, the last column with its lower
    one, the last pixel with none; so a mask that touches the image border has no boundary there.
    """
    boundary = np.zeros_like(mask)
    boundary[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    boundary[:-1, :] |= mask[:-1, :] ^ mask[1:, :]
    boundary[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return boundary


def sequence_statistics(values: Sequence[float]) -> SequenceStatistics:
    """Mean, recall and decay of one measure over the *evaluated* frames of a sequence.

    values: one number a frame, without the first and the last frame (`evaluated_frames` leaves them out).
    Stretch i of the decay runs from bound i to bound i + 1, both included, as in db_statistics of the published code.
    Raises ContractError if there is no value.
    """
    if len(values) == 0:
        raise ContractError(
            explain("evaluated frames", expected="at least one", got=0, do="evaluate clips of three frames or more")
        )
    array = np.asarray(values, dtype=np.float64)
    # 1e-10 turns the half that np.round would send to an even number upwards, as in the published code.
    bounds = np.round(np.linspace(1, len(array), DECAY_BINS + 1) + 1e-10).astype(np.intp) - 1
    first, last = array[bounds[0] : bounds[1] + 1], array[bounds[-2] : bounds[-1] + 1]
    return SequenceStatistics(
        mean=float(array.mean()),
        recall=float((array > RECALL_THRESHOLD).mean()),
        decay=float(first.mean() - last.mean()),
    )


def evaluated_frames(values: Sequence[float]) -> Sequence[float]:
    """The values that enter the means: all but the first frame, which is given, and the last, as DAVIS does."""
    return values[1:-1]


def _dilate(boundary: Mask, radius: int) -> Mask:
    cv2 = import_media_library("cv2", purpose="boundary measure")
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius**2).astype(np.uint8)
    dilated: NDArray[np.uint8] = cv2.dilate(boundary.view(np.uint8), disk)
    return dilated.view(np.bool_)


def _check_pair(truth: Mask, mask: Mask) -> None:
    for name, array in (("truth", truth), ("mask", mask)):
        if array.ndim != 2 or array.dtype != np.bool_ or array.shape != truth.shape:
            raise ContractError(
                explain(
                    f"{name} to be measured",
                    expected=f"bool (height, width) {truth.shape}",
                    got=f"{array.dtype} {array.shape}",
                    do="threshold the mask, and measure at the annotation's own size",
                )
            )
