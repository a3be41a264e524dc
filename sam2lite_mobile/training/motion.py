"""Smooth motion of an image or a cut-out through the frame of a clip, and the maps that render it.

Frame plane: x in 0..aspect, y in 0..1, so that angles and circles are true before the frame is stretched to R x R.
A pose is a 3 x 3 matrix from source pixels to output pixels, pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Generator = np.random.Generator

CELL_PX = 8
"""Output maps are computed on a grid of this step and interpolated: exact for affine poses."""
_FAR = -1e6
"""Source coordinate of what lies behind a perspective pose's horizon: outside of every image."""


@dataclass(frozen=True)
class View:
    """The frame of a clip: width / height before stretching, and output size R in pixels."""

    aspect: float
    size_px: int


@dataclass(frozen=True)
class Track:
    """Motion over T frames, each field (T,): position of the source's pivot in the frame plane, scale in plane heights
    per source pixel, angle in radians, `squeeze` the factor on the source's x axis (negative: flipped), `tilt_x` and
    `tilt_y` the change of depth per plane height (0: affine)."""

    x: Floats
    y: Floats
    scale: Floats
    angle: Floats
    squeeze: Floats
    tilt_x: Floats
    tilt_y: Floats

    def poses(self, pivot: tuple[float, float] | Floats, view: View) -> Floats:
        """Matrices (T, 3, 3) from source pixels to output pixels; `pivot`: x, y in source pixels, or (T, 2)."""
        count = len(self.x)
        pivots = np.broadcast_to(np.asarray(pivot, dtype=np.float64), (count, 2))
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        to_pivot = np.tile(np.eye(3), (count, 1, 1))
        to_pivot[:, :2, 2] = -pivots
        turn = np.zeros((count, 3, 3))
        turn[:, 0, 0], turn[:, 0, 1] = cos * self.scale * self.squeeze, -sin * self.scale
        turn[:, 1, 0], turn[:, 1, 1] = sin * self.scale * self.squeeze, cos * self.scale
        turn[:, 2, 2] = 1
        depth = np.tile(np.eye(3), (count, 1, 1))
        depth[:, 2, 0], depth[:, 2, 1] = self.tilt_x, self.tilt_y
        place = np.tile(np.eye(3), (count, 1, 1))
        place[:, 0, 2], place[:, 1, 2] = self.x, self.y
        pixels = np.array([[view.size_px / view.aspect, 0.0, -0.5], [0.0, float(view.size_px), -0.5], [0.0, 0.0, 1.0]])
        return pixels @ place @ depth @ turn @ to_pivot


@dataclass(frozen=True)
class Ripple:
    """Elastic flow: a sum of K waves that displace source coordinates and travel over the clip.

    `waves`: (K, 2) radians per source pixel, `shifts`: (K, 2) largest displacement in source pixels, `phases`: (K,)
    radians, `speeds`: (K,) radians per clip.
    """

    waves: Floats
    shifts: Floats
    phases: Floats
    speeds: Floats

    def displace(self, points: Floats, moment: float) -> Floats:
        """Points (..., 2) in source pixels, displaced as at `moment`, 0..1 from first to last frame."""
        angles = points @ self.waves.T + self.phases + self.speeds * moment
        return points + np.sin(angles) @ self.shifts


def smooth_path(rng: Generator, frames: int, *, drift: float, sway: float) -> Floats:
    """Offsets (T,) that start at 0: a straight way of `drift` and a slow wave of amplitude `sway`."""
    moment = np.linspace(0, 1, frames)
    turns, phase = rng.uniform(0.3, 1.0), rng.uniform(0, 2 * np.pi)
    return cast(Floats, drift * moment + sway * (np.sin(2 * np.pi * turns * moment + phase) - np.sin(phase)))


def random_ripple(rng: Generator, extent_px: float, *, strength: float) -> Ripple:
    """Elastic flow over something of `extent_px`: waves of 0.7 to 2 extents, shifts of about `strength` extents."""
    count = 4
    direction = rng.uniform(0, 2 * np.pi, count)
    length = rng.uniform(0.7, 2.0, count) * extent_px
    waves = (2 * np.pi / length)[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1)
    shifts = rng.normal(0, strength * extent_px / np.sqrt(count), (count, 2))
    return Ripple(waves, shifts, rng.uniform(0, 2 * np.pi, count), rng.uniform(-np.pi, np.pi, count))


def frame_map(pose: Floats, view: View, *, ripple: Ripple | None, moment: float) -> NDArray[np.float32]:
    """Source coordinates (R, R, 2) for `cv2.remap` of the whole frame."""
    points = _grid_points(_inverse(pose), view, ripple, moment)
    return _refine(points)[: view.size_px, : view.size_px]


def object_map(
    pose: Floats, view: View, *, ripple: Ripple | None, moment: float, box: tuple[float, float, float, float]
) -> tuple[NDArray[np.float32], slice, slice] | None:
    """Source coordinates (h, w, 2) for `cv2.remap`, with the rows and columns of the output that they fill.

    `box`: x0, y0, x1, y1 in source pixels of what is to be seen. The map covers its surroundings only; None where
    the box is out of view.
    """
    inverse = _inverse(pose)
    points = _grid_points(inverse, view, ripple, moment)
    reach = 1.5 * CELL_PX * float(np.linalg.norm(inverse[:2, :2], 2)) / abs(inverse[2, 2])
    x0, y0, x1, y1 = box
    x, y = points[..., 0], points[..., 1]
    near = (x > x0 - reach) & (x < x1 + reach) & (y > y0 - reach) & (y < y1 + reach)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if rows.size == 0:
        return None
    cells = len(points) - 2
    top, bottom = max(1, int(rows[0])), min(cells, int(rows[-1]))
    left, right = max(1, int(columns[0])), min(cells, int(columns[-1]))
    if top > bottom or left > right:
        return None
    fine = _refine(points[top - 1 : bottom + 2, left - 1 : right + 2])
    y_start, x_start = (top - 1) * CELL_PX, (left - 1) * CELL_PX
    y_stop, x_stop = min(bottom * CELL_PX, view.size_px), min(right * CELL_PX, view.size_px)
    window = np.ascontiguousarray(fine[: y_stop - y_start, : x_stop - x_start])
    return window, slice(y_start, y_stop), slice(x_start, x_stop)


def _inverse(pose: Floats) -> Floats:
    return np.asarray(np.linalg.inv(pose), dtype=np.float64)


def _grid_points(inverse: Floats, view: View, ripple: Ripple | None, moment: float) -> Floats:
    """Source points (n + 2, n + 2, 2) of the middles of the frame's n x n cells and of one cell around them."""
    cells = -(-view.size_px // CELL_PX)
    centres = (np.arange(-1, cells + 1) * CELL_PX) + (CELL_PX - 1) / 2
    grid = np.stack([*np.meshgrid(centres, centres), np.ones((cells + 2, cells + 2))], axis=-1)
    projected = grid @ inverse.T
    depth = projected[..., 2:]
    in_front = depth > 0.1 * abs(inverse[2, 2])
    points = np.where(in_front, projected[..., :2] / np.where(in_front, depth, 1.0), _FAR)
    if ripple is not None:
        points = np.where(in_front, ripple.displace(points, moment), _FAR)
    return points


def _refine(points: Floats) -> NDArray[np.float32]:
    """Source points of every pixel of the inner cells, interpolated between the middles of cells."""
    nodes = points.astype(np.float32)
    fine = cv2.resize(nodes, (nodes.shape[1] * CELL_PX, nodes.shape[0] * CELL_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine[CELL_PX:-CELL_PX, CELL_PX:-CELL_PX], dtype=np.float32)
