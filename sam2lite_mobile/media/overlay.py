"""Drawing masks on frames: translucent fill and a contour in each object's colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.media.label_maps import object_ids
from sam2lite_mobile.media.optional import import_media_library
from sam2lite_mobile.media.palette import overlay_colour

FILL_OPACITY = 0.42
CONTOUR_SHARE = 1 / 320
"""Width of a contour as a share of the frame's shorter side: 1.5 px at 480, 3 px at 1080."""
RIM_COLOUR = (16, 16, 16)
"""A dark rim under the contour keeps it visible on a background of its own colour."""


def draw_overlay(image: NDArray[np.uint8], label_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy of a frame with every object of the label map filled and outlined.

    image: uint8 (height, width, RGB). label_map: uint8 (height, width) of object ids.
    """
    cv2 = import_media_library("cv2", purpose="drawing overlays")
    drawn = image.copy()
    width_px = max(1, round(min(image.shape[:2]) * CONTOUR_SHARE))
    for object_id in object_ids(label_map):
        mask = label_map == object_id
        colour = np.array(overlay_colour(object_id), dtype=np.float32)
        drawn[mask] = np.rint(image[mask] * (1 - FILL_OPACITY) + colour * FILL_OPACITY).astype(np.uint8)
    for object_id in object_ids(label_map):
        contours, _ = cv2.findContours((label_map == object_id).view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(drawn, contours, -1, RIM_COLOUR, width_px + 2, cv2.LINE_AA)
        cv2.drawContours(drawn, contours, -1, overlay_colour(object_id), width_px, cv2.LINE_AA)
    return drawn
