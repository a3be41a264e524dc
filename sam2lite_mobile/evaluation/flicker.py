"""Flicker: how much of a mask's boundary changes between two frames without the picture having moved there.

The question is that of the temporal stability T of DAVIS-2016 (Perazzi et al., "A Benchmark Dataset and Evaluation
Methodology for Video Object Segmentation", CVPR 2016, section 4), which matches the two contours by their shape and so
takes some of an object's own motion for instability. Here the earlier mask is carried to the later frame by optical
flow, as in the temporal consistency of Liu et al., "Efficient Semantic Video Segmentation with Per-frame Inference",
ECCV 2020, and what is compared are boundaries, as in DAVIS's F:

    flicker(t) = 1 - F(carried(t), mask(t)),  carried(t)[x] = mask(t - 1)[x + flow(x)],

with `flow` from frame t to frame t - 1 by DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV
2016; OpenCV's implementation, preset medium, on grey frames at full size), and F with a tolerance of 0.002 of the
diagonal (2 px at 480 x 854), a quarter of DAVIS's: what shimmers moves less than what is wrong. Flow fails where
things appear, vanish or move far, so the flicker of the annotation by the same flow stands beside it as a floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.evaluation.davis import Mask, boundary_measure
from sam2lite_mobile.media.optional import import_media_library

FLICKER_TOLERANCE = 0.002
"""How far two boundary pixels may lie apart and count as the same, as a share of the image diagonal."""

Flow = NDArray[np.float32]


@dataclass(frozen=True)
class Change:
    """Flicker between two frames, 0..1: of the predicted mask and of the annotation."""

    predicted: float
    annotated: float


class FlickerMeter:
    """Flicker from each frame of a video to the next. Keeps one frame."""

    def __init__(self) -> None:
        cv2 = import_media_library("cv2", purpose="measuring flicker")
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._grey: NDArray[np.uint8] | None = None
        self._truth: NDArray[np.uint8] | None = None
        self._predicted: NDArray[np.uint8] | None = None

    def step(
        self, image: NDArray[np.uint8], truth: NDArray[np.uint8], predicted: NDArray[np.uint8], ids: tuple[int, ...]
    ) -> dict[int, Change]:
        """The change of each object of `ids` since the frame before; empty at the first frame.

        image: uint8 (height, width, RGB). truth, predicted: uint8 (height, width) of object ids; all of one size.
        """
        cv2 = import_media_library("cv2", purpose="measuring flicker")
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        changes = {}
        if self._grey is not None and self._truth is not None and self._predicted is not None and ids:
            flow = self._flow.calc(grey, self._grey, None)
            changes = {
                each: Change(
                    predicted=mask_flicker(self._predicted == each, predicted == each, flow),
                    annotated=mask_flicker(self._truth == each, truth == each, flow),
                )
                for each in ids
            }
        self._grey, self._truth, self._predicted = grey, truth, predicted
        return changes


def mask_flicker(earlier: Mask, later: Mask, flow: Flow) -> float:
    """1 - F of the earlier mask, carried along, against the later one: 0 where motion explains the boundary, 1 where
    none of it.

    earlier, later: bool (height, width). flow: float32 (height, width, 2), x and y in pixels from a place in the later
    frame to the same point in the earlier one. Two masks without boundary have no flicker.
    """
    return 1.0 - boundary_measure(carried(earlier, flow), later, tolerance=FLICKER_TOLERANCE)


def carried(mask: Mask, flow: Flow) -> Mask:
    """A mask as it would lie in the later frame: looked up at x + flow(x), linearly, cut at one half.

    Places outside of the frame are looked up at its edge. Shapes as in `mask_flicker`.
    """
    cv2 = import_media_library("cv2", purpose="measuring flicker")
    rows, columns = np.indices(mask.shape, dtype=np.float32)
    looked_up = cv2.remap(
        mask.astype(np.float32),
        columns + flow[..., 0],
        rows + flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    found: Mask = looked_up > 0.5
    return found
