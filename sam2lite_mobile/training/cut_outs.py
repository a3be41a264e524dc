"""Cut-outs, and painting them over frames with soft edges and exact masks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sam2lite_mobile.training.clip_settings import Bytes
from sam2lite_mobile.training.motion import Floats, Generator, Ripple, View, frame_map, object_map

_MARGIN_PX = 3


@dataclass(frozen=True)
class CutOut:
    """An object taken from its image: pixels (h, w, 3) uint8 RGB, alpha (h, w) uint8 0 / 255, zero along the border."""

    pixels: Bytes
    alpha: Bytes

    @property
    def area_px(self) -> int:
        """Number of pixels of the object."""
        return int(np.count_nonzero(self.alpha > 127))

    @property
    def centre(self) -> tuple[float, float]:
        """x, y of the middle of the picture."""
        return (self.alpha.shape[1] - 1) / 2, (self.alpha.shape[0] - 1) / 2


@dataclass(frozen=True)
class Layer:
    """A cut-out in motion. `poses`: (T, 3, 3) source to output pixels. `softness`: sigma of its edge, output pixels."""

    cut_out: CutOut
    poses: Floats
    ripple: Ripple | None
    softness: float

    def paint(self, frame: Bytes, index: int, view: View) -> Bytes:
        """Draw the object over `frame` (R, R, 3) in place; gives back its mask (R, R) uint8 0 / 255."""
        mask = np.zeros(frame.shape[:2], dtype=np.uint8)
        height, width = self.cut_out.alpha.shape
        moment = index / max(len(self.poses) - 1, 1)
        box = (0, 0, width - 1, height - 1)
        rendered = object_map(self.poses[index], view, ripple=self.ripple, moment=moment, box=box)
        if rendered is None:
            return mask
        points, rows, columns = rendered
        alpha = cv2.remap(self.cut_out.alpha, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        pixels = cv2.remap(self.cut_out.pixels, points, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        soft = cv2.GaussianBlur(alpha, (0, 0), self.softness) if self.softness > 0 else alpha
        over = soft.astype(np.float32) / np.float32(255)
        frame[rows, columns] = cv2.blendLinear(pixels, np.ascontiguousarray(frame[rows, columns]), over, 1 - over)
        mask[rows, columns] = np.where(alpha > 127, np.uint8(255), np.uint8(0))
        return mask


def cut_out(pixels: Bytes, mask: Bytes, *, reduction: float) -> CutOut:
    """The object under `mask` (H, W) uint8 0 / 255 in `pixels` (H, W, 3), with a few pixels around it.

    `reduction`: largest factor by which it will be made smaller on screen; it is reduced by area averages beforehand so
    that sampling every few pixels does not alias.
    """
    y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = max(0, int(y[0]) - _MARGIN_PX), max(0, int(x[0]) - _MARGIN_PX)
    rows, columns = slice(top, int(y[-1]) + 1 + _MARGIN_PX), slice(left, int(x[-1]) + 1 + _MARGIN_PX)
    image, alpha = pixels[rows, columns], mask[rows, columns]
    if reduction > 1.5:
        size = (max(8, round(image.shape[1] / reduction)), max(8, round(image.shape[0] / reduction)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    # A frame of empty pixels: interpolation beyond the picture then fades out where an image border cuts the object.
    image = cv2.copyMakeBorder(np.ascontiguousarray(image), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    alpha = cv2.copyMakeBorder(np.ascontiguousarray(alpha), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return CutOut(np.asarray(image, dtype=np.uint8), np.asarray(alpha, dtype=np.uint8))


def match_colours(rng: Generator, piece: CutOut, background: Bytes) -> CutOut:
    """The cut-out with its mean colour moved part of the way to the background's, (H, W, 3) uint8.

    Without this a paste could be found by its lighting alone.
    """
    own = np.array(cv2.mean(piece.pixels, (piece.alpha > 127).astype(np.uint8))[:3])
    other = np.array(cv2.mean(background)[:3])
    gain = np.clip(((other + 20) / (own + 20)) ** rng.uniform(0, 0.6), 0.65, 1.5)
    return CutOut(np.asarray(cv2.transform(piece.pixels, np.diag(gain)), dtype=np.uint8), piece.alpha)


def fill_object(pixels: Bytes, mask: Bytes) -> Bytes:
    """`pixels` (H, W, 3) with the object under `mask` replaced by the blurred colours around it."""
    hole = cv2.dilate(mask, np.ones((7, 7), np.uint8))
    size = (max(4, pixels.shape[1] // 8), max(4, pixels.shape[0] // 8))
    valid = np.where(hole > 0, np.float32(0), np.float32(1))
    known = cv2.resize(pixels * valid[..., None], size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(valid, size, interpolation=cv2.INTER_AREA)
    # The near blur decides wherever it reaches; the far one fills the middle of large holes.
    colours, weights = np.zeros_like(known), np.full_like(weight, 1e-9)
    for sigma, importance in ((1.5, 1.0), (4.0, 1e-2), (20.0, 1e-4)):
        colours += importance * cv2.GaussianBlur(known, (0, 0), sigma)
        weights += importance * cv2.GaussianBlur(weight, (0, 0), sigma)
    full = (pixels.shape[1], pixels.shape[0])
    filled = cv2.resize(colours / weights[..., None], full, interpolation=cv2.INTER_LINEAR)
    edge = cv2.GaussianBlur(hole, (0, 0), 2.0).astype(np.float32) / np.float32(255)
    return np.asarray(cv2.blendLinear(filled.clip(0, 255).astype(np.uint8), pixels, edge, 1 - edge), dtype=np.uint8)


def view_image(pixels: Bytes, pose: Floats, view: View, *, ripple: Ripple | None, moment: float) -> Bytes:
    """`pixels` (H, W, 3) as seen under `pose`, (R, R, 3); mirrored beyond its border."""
    return _view(pixels, pose, view, ripple, moment, cv2.BORDER_REFLECT_101)


def view_mask(mask: Bytes, pose: Floats, view: View, *, ripple: Ripple | None, moment: float) -> Bytes:
    """`mask` (H, W) uint8 0 / 255 as seen under `pose`, (R, R) uint8 0 / 255; empty beyond its border."""
    seen = _view(mask, pose, view, ripple, moment, cv2.BORDER_CONSTANT)
    return np.where(seen > 127, np.uint8(255), np.uint8(0))


def _view(image: Bytes, pose: Floats, view: View, ripple: Ripple | None, moment: float, border: int) -> Bytes:
    if ripple is None and not pose[2, :2].any():
        size = (view.size_px, view.size_px)
        return np.asarray(cv2.warpAffine(image, pose[:2], size, flags=cv2.INTER_LINEAR, borderMode=border))
    points = np.ascontiguousarray(frame_map(pose, view, ripple=ripple, moment=moment))
    return np.asarray(cv2.remap(image, points, None, cv2.INTER_LINEAR, borderMode=border), dtype=np.uint8)
