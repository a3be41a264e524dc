"""Changes of look that leave masks where they are: colour, motion blur, softness, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.training.clip_settings import Bytes, ClipSettings
from sam2lite_mobile.training.motion import Generator

_LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601 weights."""


def change_look(rng: Generator, frames: list[Bytes], settings: ClipSettings) -> list[Bytes]:
    """The same frames, (R, R, 3) uint8 each, as another camera would have taken them: one look for the whole clip."""
    if rng.random() < settings.colour:
        colours = colour_matrix(rng, settings.colour_range)
        frames = [_bytes(cv2.transform(frame, colours)) for frame in frames]
    if rng.random() < settings.motion_blur:
        kernel = motion_blur_kernel(rng)
        frames = [_bytes(cv2.filter2D(frame, -1, kernel)) for frame in frames]
    if rng.random() < settings.soft:
        sigma = rng.uniform(0.5, 1.2)
        frames = [_bytes(cv2.GaussianBlur(frame, (5, 5), sigma)) for frame in frames]
    if rng.random() < settings.noise:
        frames = add_noise(rng, frames)
    if rng.random() < settings.jpeg:
        quality = int(rng.integers(35, 85))
        frames = [_through_jpeg(frame, quality) for frame in frames]
    return frames


def colour_matrix(rng: Generator, half_range: float) -> NDArray[np.float64]:
    """Matrix (3, 4) for `cv2.transform`: random brightness, contrast about mid grey, saturation and white balance.

    Factors are drawn from 1 - half_range .. 1 + half_range, white balance from a quarter of that.
    """
    brightness, contrast, saturation = rng.uniform(1 - half_range, 1 + half_range, 3)
    balance = rng.uniform(1 - half_range / 4, 1 + half_range / 4, 3)
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    gain = brightness * contrast * balance[:, None] * mix
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return np.hstack([gain, offset])


def motion_blur_kernel(rng: Generator) -> NDArray[np.float32]:
    """A line through the centre of a 3 x 3 or 5 x 5 kernel, at a random angle; sums to 1."""
    side = int(rng.choice((3, 5)))
    kernel = np.zeros((side, side), dtype=np.float32)
    angle, half = rng.uniform(0, np.pi), side // 2
    reach = np.array([np.cos(angle), np.sin(angle)]) * half
    start, end = np.rint(half - reach).astype(int), np.rint(half + reach).astype(int)
    cv2.line(kernel, (int(start[0]), int(start[1])), (int(end[0]), int(end[1])), 1.0)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


def add_noise(rng: Generator, frames: list[Bytes]) -> list[Bytes]:
    """Frames with sensor noise of a standard deviation of 2 to 8 grey levels, other in every frame."""
    height, width, channels = frames[0].shape
    # One tile of noise, shifted from frame to frame: drawing it anew would cost more than all warps together.
    noise = rng.standard_normal((height + 32, width + 32, channels), dtype=np.float32) * np.float32(rng.uniform(2, 8))
    tile = np.rint(noise).astype(np.int16)
    noisy = []
    for frame in frames:
        y, x = rng.integers(0, 32, 2)
        noisy.append(_bytes(cv2.add(frame, tile[y : y + height, x : x + width], dtype=cv2.CV_8U)))
    return noisy


def _through_jpeg(frame: Bytes, quality: int) -> Bytes:
    _, packed = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return _bytes(cv2.imdecode(packed, cv2.IMREAD_COLOR))


def _bytes(image: object) -> Bytes:
    return np.asarray(image, dtype=np.uint8)
