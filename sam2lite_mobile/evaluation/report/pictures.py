"""Frames and masks for the page: small JPEGs as data URIs, and outlines of masks as SVG paths drawn over them."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.label_maps import object_ids
from sam2lite_mobile.media.optional import import_media_library

PICTURE_WIDTH = 416
"""Width of a frame on the page in pixels; narrower ones stay as they are."""
JPEG_QUALITY = 66
TOLERANCE_PX = 0.6
"""How far an outline may be from the mask's, in pixels of the picture; fewer points, a smaller page."""

Picture = NDArray[np.uint8]


def picture_size(width: int, height: int, *, widest: int = PICTURE_WIDTH) -> tuple[int, int]:
    """(width, height) in which a frame of these sides is shown."""
    share = min(1.0, widest / width)
    return max(1, round(width * share)), max(1, round(height * share))


def data_uri(image: Picture, *, widest: int = PICTURE_WIDTH) -> str:
    """A frame as the data URI of a small JPEG. image: uint8 (height, width, RGB)."""
    cv2 = import_media_library("cv2", purpose="drawing pictures of a report")
    size = picture_size(image.shape[1], image.shape[0], widest=widest)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise DataError(explain("a frame", expected="one that can be encoded", got=image.shape, do="check the frames"))
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode('ascii')}"


def outline_path(labels: Picture, *, widest: int = PICTURE_WIDTH) -> str:
    """SVG path data of the outlines of every object of a label map, in pixels of the picture; "" without objects.

    labels: uint8 (height, width) of object ids. Filled by the rule evenodd: holes stay open.
    """
    cv2 = import_media_library("cv2", purpose="drawing pictures of a report")
    height, width = labels.shape
    shown_width, shown_height = picture_size(width, height, widest=widest)
    scale = np.array([shown_width / width, shown_height / height])
    data = []
    for object_id in object_ids(labels):
        mask = (labels == object_id).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        for outline in outlines:
            # Centres of pixels; half a pixel more puts them where the picture shows them.
            points = ((outline[:, 0, :] + 0.5) * scale).astype(np.float32)
            kept = cv2.approxPolyDP(points[:, np.newaxis, :], TOLERANCE_PX, True)[:, 0, :]
            if len(kept) > 2:
                data.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in kept) + "Z")
    return "".join(data)
