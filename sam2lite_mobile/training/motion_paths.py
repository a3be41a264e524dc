"""Random paths: of a camera over an image, of an object through the frame, of an occluder across an object."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.training.clip_settings import ClipSettings
from sam2lite_mobile.training.motion import Floats, Generator, Track, View, smooth_path

LARGEST_MAGNIFICATION = 2.5 / 288
"""Plane heights per source pixel: 2.5 times the size in a frame of 288 px height. More shows the source's pixels."""
LARGEST_EXTENT = 0.9
"""Plane heights: side of the square of the same area that a pasted object grows to at most."""
FOCUS_MARGIN = 0.35
"""The focus of a camera starts within this share of the view from its centre."""


def pace(frames: int) -> float:
    """Extent of motion over a clip, 1 for 4 frames: longer clips show more of it, but not in proportion."""
    return float(np.sqrt((frames - 1) / 3))


def camera_poses(
    rng: Generator,
    settings: ClipSettings,
    *,
    view: View,
    size: tuple[int, int],
    focus: Floats,
    wander: float,
    angle_limit: float,
    tilt_limit: float = 0.0,
) -> Floats:
    """Poses (T, 3, 3) of an image of `size` (width, height) under a camera that keeps its frame inside the image.

    `focus`: x, y in source pixels of what is to be in view, (T, 2). `wander`: largest drift over the clip as a share of
    the view, 0 for a crop that stands still apart from the focus. `angle_limit`: radians.
    `tilt_limit`: change of depth per plane height.
    """
    frames = len(focus)
    cover = max(view.aspect / size[0], 1 / size[1])
    zoom = np.full(frames, 1 / rng.uniform(settings.crop_min, 1.0))
    if rng.random() < settings.strong_zoom:
        zoom = zoom * strong_zoom(rng, settings, frames)
        zoom = zoom / min(1.0, zoom.min())
    elif wander > 0:
        zoom = np.maximum(zoom * np.exp(smooth_path(rng, frames, drift=rng.normal(0, 0.1), sway=0.03)), 1.0)
    scale = cover * zoom
    extent = np.stack([view.aspect / scale, 1 / scale], axis=1)
    offset = rng.uniform(-FOCUS_MARGIN, FOCUS_MARGIN, 2) * extent
    drift = rng.uniform(-wander, wander, 2) * pace(frames)
    way = np.stack([smooth_path(rng, frames, drift=d, sway=wander / 4) for d in drift], axis=1) * extent
    shake = rng.normal(0, 0.004, (frames, 2)) * extent * (wander > 0)
    # Pixel centres are at integers, so the image reaches from -0.5 to size - 0.5.
    pivots = np.clip(focus + offset + way + shake, extent / 2 - 0.5, np.array(size) - 0.5 - extent / 2)
    angle = np.full(frames, rng.uniform(-angle_limit, angle_limit))
    if wander > 0:
        angle = angle + smooth_path(rng, frames, drift=rng.uniform(-angle_limit, angle_limit), sway=angle_limit / 5)
    track = Track(
        x=np.full(frames, view.aspect / 2),
        y=np.full(frames, 0.5),
        scale=scale,
        angle=angle,
        squeeze=np.full(frames, -1.0 if rng.random() < settings.flip else 1.0),
        tilt_x=_swing(rng, frames, tilt_limit),
        tilt_y=_swing(rng, frames, tilt_limit),
    )
    return track.poses(pivots, view)


def strong_zoom(rng: Generator, settings: ClipSettings, frames: int) -> Floats:
    """Factors (T,) from 1 to 1.4 .. strong_zoom_factor, growing two times out of three, else shrinking."""
    low = min(1.4, settings.strong_zoom_factor)
    factor = np.log(rng.uniform(low, settings.strong_zoom_factor))
    path: NDArray[np.float64] = np.exp(np.linspace(0, factor, frames))
    return path if rng.random() < 2 / 3 else 1 / path


def object_track(
    rng: Generator, settings: ClipSettings, *, view: View, area_px: float, share: float, leaves: bool
) -> Track:
    """Path of a pasted object of `area_px` source pixels that covers `share` of the frame at first.

    `leaves`: it is out of the frame for one to three frames, never in the first one.
    """
    frames, span = settings.frames, pace(settings.frames)
    start_scale = min(float(np.sqrt(share * view.aspect / area_px)), LARGEST_MAGNIFICATION)
    extent = start_scale * float(np.sqrt(area_px))
    if rng.random() < settings.strong_zoom:
        zoom = strong_zoom(rng, settings, frames)
    else:
        zoom = np.exp(smooth_path(rng, frames, drift=rng.normal(0, 0.15) * span, sway=0.05))
    zoom = np.minimum(zoom, max(1.0, LARGEST_EXTENT / extent))
    reach = rng.uniform(0.05, 0.35) * span
    heading = rng.uniform(0, 2 * np.pi)
    x = view.aspect * (rng.uniform(0.2, 0.8) + smooth_path(rng, frames, drift=reach * np.cos(heading), sway=0.06))
    y = rng.uniform(0.25, 0.75) + smooth_path(rng, frames, drift=reach * np.sin(heading), sway=0.06)
    if not leaves:
        # An object that wanders off is turned back at the border: only its outer half may leave the frame.
        x, y = np.clip(x, 0.03 * view.aspect, 0.97 * view.aspect), np.clip(y, 0.03, 0.97)
    else:
        away = absence(rng, frames)
        side = 1.0 if x[0] > view.aspect / 2 else -1.0
        x = x + away * side * (view.aspect / 2 + 2 * extent)
    if rng.random() < settings.large_rotation:
        turned = rng.uniform(0.7, np.pi) * rng.choice((-1, 1))
    else:
        turned = rng.normal(0, 0.15) * span
    squeeze = np.full(frames, rng.uniform(0.85, 1.15))
    if rng.random() < settings.turn:
        near, far = np.radians(rng.uniform((0, 45), (20, 70)))
        yaw = np.linspace(near, far, frames) if rng.random() < 0.5 else np.linspace(far, near, frames)
        squeeze = squeeze * np.cos(yaw)
    if rng.random() < settings.flip:
        squeeze = -squeeze
    still = np.zeros(frames)
    tilt_x, tilt_y = still, still
    if rng.random() < settings.perspective:
        tilt_x = smooth_path(rng, frames, drift=rng.uniform(-0.3, 0.3) / extent, sway=0.05 / extent)
        tilt_y = np.full(frames, rng.uniform(-0.15, 0.15) / extent)
    angle = rng.normal(0, 0.15) + smooth_path(rng, frames, drift=turned, sway=0.05)
    return Track(x, y, start_scale * zoom, angle, squeeze, tilt_x, tilt_y)


def absence(rng: Generator, frames: int) -> Floats:
    """Where an object is (T,): 0 on its path, 1 out of the frame. It is out for 1 to 3 frames; the first one is 0."""
    away = np.zeros(frames)
    begin = int(rng.integers(1, max(2, frames - 1)))
    away[begin : begin + int(rng.integers(1, 4))] = 1.0
    if begin > 1:
        away[begin - 1] = rng.uniform(0.0, 0.6)
    return away


def _swing(rng: Generator, frames: int, limit: float) -> Floats:
    """Values (T,) that go from one random value in -limit .. limit to another."""
    begin, end = rng.uniform(-limit, limit, 2)
    return np.linspace(begin, end, frames)


def crossing_track(rng: Generator, track: Track, *, target: Floats, reach: float) -> Track:
    """`track` moved so that it passes over `target` (T, 2) after frame 0, in which it is `reach` away or more.

    `target` and `reach` in plane units.
    """
    frames = len(target)
    meeting = int(rng.integers(1, frames))
    heading = rng.uniform(0, 2 * np.pi)
    steps = (np.arange(frames) - meeting) / meeting
    distance = reach * rng.uniform(1.0, 1.6) * steps
    middle = target[meeting] + rng.normal(0, 0.15 * reach, 2)
    # Follow half of the target's own motion, so that the occlusion lasts for more than a moment.
    base = middle + (target - target[meeting]) * rng.uniform(0.0, 1.0)
    return replace(track, x=base[:, 0] + np.cos(heading) * distance, y=base[:, 1] + np.sin(heading) * distance)
