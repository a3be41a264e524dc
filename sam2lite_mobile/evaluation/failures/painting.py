"""Painting cut-outs over frames with exact masks, on whole pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.media.optional import import_media_library

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class CutOut:
    """An object taken from a frame: pixels uint8 (h, w, 3) RGB and alpha uint8 (h, w), 0 to 255."""

    pixels: Picture
    alpha: Picture


def cut_out(image: Picture, mask: Mask, *, scale: float, mirrored: bool = False) -> CutOut | None:
    """The object under `mask`, `scale` times as large by area averages (below 1) or bilinear; None if there is none."""
    cv2 = import_media_library("cv2", purpose="painting cut-outs")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return None
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    pixels, alpha = image[box], mask[box].astype(np.uint8) * np.uint8(255)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels, alpha = (cv2.resize(np.ascontiguousarray(each), size, interpolation=how) for each in (pixels, alpha))
    if mirrored:
        pixels, alpha = pixels[:, ::-1], alpha[:, ::-1]
    return CutOut(pixels, alpha)


def paint(canvas: Picture, piece: CutOut, *, centre: tuple[float, float], opacity: float = 1.0) -> Mask:
    """Draw the cut-out over `canvas` (H, W, 3) in place, its middle at `centre` (x, y in pixels, then rounded).

    Gives back its mask, bool (H, W): where its alpha is over one half, whatever `opacity` (0..1) it is painted with.
    """
    height, width = canvas.shape[:2]
    mask = np.zeros((height, width), np.bool_)
    h, w = piece.alpha.shape
    top, left = round(centre[1] - h / 2), round(centre[0] - w / 2)
    y0, y1, x0, x1 = max(top, 0), min(top + h, height), max(left, 0), min(left + w, width)
    if y0 >= y1 or x0 >= x1:
        return mask
    part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    over = (piece.alpha[part].astype(np.float32) / np.float32(255) * np.float32(opacity))[..., np.newaxis]
    under = canvas[y0:y1, x0:x1].astype(np.float32)
    canvas[y0:y1, x0:x1] = np.rint(piece.pixels[part] * over + under * (1 - over)).astype(np.uint8)
    mask[y0:y1, x0:x1] = piece.alpha[part] > 127
    return mask


def mixed(first: Picture, second: Picture, share: float) -> Picture:
    """`share` (0..1) of the second picture over the first, both uint8 (H, W, 3)."""
    sum_ = first.astype(np.float32) * np.float32(1 - share) + second.astype(np.float32) * np.float32(share)
    return np.rint(sum_).astype(np.uint8)


def fitted(image: Picture, height: int, width: int) -> Picture:
    """The picture stretched to (height, width)."""
    if image.shape[:2] == (height, width):
        return image
    cv2 = import_media_library("cv2", purpose="painting cut-outs")
    stretched: Picture = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return stretched
