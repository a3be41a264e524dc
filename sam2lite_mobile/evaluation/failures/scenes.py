"""The scenes: for each failure, how its frames and masks are made of two sequences."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sam2lite_mobile.evaluation.failures.cases import REFERENCE_SIZE, Kind
from sam2lite_mobile.evaluation.failures.footage import Footage
from sam2lite_mobile.evaluation.failures.painting import Mask, Picture, cut_out, fitted, mixed, paint

Generator = np.random.Generator

HIDDEN_FRAMES = 54
"""2.25 s at 24 frames a second."""
BEFORE, AFTER = 16, 24
"""Frames with the object before and after it is hidden."""
SLIDE = 6
"""Frames in which an occluder comes, and goes."""
TINY_SIDES_PX = (10, 16, 24)
GLASS_OPACITY = 0.4
PANE_SHARE = 0.4
SHORT = 30
"""Frames of a scene without a moment of its own."""
STRETCH = 16
"""Frames between two camera cuts."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """One frame: image uint8 (H, W, 3), mask of the object and of its look-alike, bool (H, W)."""

    image: Picture
    mask: Mask
    lookalike: Mask | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """A sequence to be drawn frame by frame. variant: what is added to its name. The rest as `cases.Case`."""

    kind: Kind
    frames: int
    draw: Callable[[int], Drawn]
    variant: str = ""
    hidden: tuple[int, int] | None = None
    returns: tuple[int, ...] = ()
    lookalike: bool = False


def scenes(rng: Generator, source: Footage, other: Footage) -> list[Scene]:
    """Every scene of one object: `source` has the object, `other` is what it is put over, or comes in between."""
    tiny = [pasted(rng, source, other, kind=Kind.TINY, side_px=side) for side in TINY_SIDES_PX]
    return [
        *tiny,
        occlusion(source, other),
        absence(rng, source, other),
        fast(rng, source, other),
        cuts(source, other),
        lookalike(source),
        pasted(rng, source, other, kind=Kind.GLASS, side_px=56, opacity=GLASS_OPACITY),
        reflection(source, other),
    ]


def pasted(rng: Generator, source: Footage, other: Footage, *, kind: Kind, side_px: int, opacity: float = 1.0) -> Scene:
    """The object on a slow curve over the other video, `side_px` large in frame 0."""
    scale = _scale(source, side_px)
    x, y = rng.uniform(0.3, 0.7, 2)
    phase = rng.uniform(0, 2 * math.pi, 2)

    def draw(index: int) -> Drawn:
        turn = 2 * math.pi * index / (2 * SHORT)
        at = (
            x + 0.15 * (math.sin(turn + phase[0]) - math.sin(phase[0])),
            y + 0.1 * (math.sin(turn + phase[1]) - math.sin(phase[1])),
        )
        return _over(source, other, index, scale=scale, at=at, opacity=opacity)

    return Scene(kind, SHORT, draw, variant=f"{side_px}px" if kind is Kind.TINY else "")


def occlusion(source: Footage, other: Footage) -> Scene:
    """The source's own video with a piece of the other one that slides over the object, stays on it, and leaves."""
    begin, end = BEFORE + SLIDE, BEFORE + SLIDE + HIDDEN_FRAMES

    def draw(index: int) -> Drawn:
        image, mask = source.image(index).copy(), source.mask(index)
        if not BEFORE <= index < end + SLIDE:
            return Drawn(image, mask)
        coming = max(0.0, (begin - index) / SLIDE) + max(0.0, (index + 1 - end) / SLIDE)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            return Drawn(image, mask)
        margin = 8
        top, bottom = max(int(rows[0]) - margin, 0), min(int(rows[-1]) + 1 + margin, source.height)
        wide = int(columns[-1]) + 1 - int(columns[0]) + 2 * margin
        left = int(columns[0]) - margin - round(coming * wide)
        x0, x1 = max(left, 0), min(left + wide, source.width)
        if x0 >= x1:
            return Drawn(image, mask)
        texture = other.backdrop(0, source)  # stands still: a board, not another video
        image[top:bottom, x0:x1] = texture[: bottom - top, : x1 - x0]
        seen = mask.copy()
        seen[top:bottom, x0:x1] = False
        return Drawn(image, seen)

    return Scene(Kind.OCCLUSION, end + SLIDE + AFTER, draw, hidden=(begin, end), returns=(end + SLIDE,))


def absence(rng: Generator, source: Footage, other: Footage) -> Scene:
    """The object walks out on the left and is back on the right, over the other video."""
    scale = _scale(source, 48)
    begin, end = BEFORE + SLIDE, BEFORE + SLIDE + HIDDEN_FRAMES
    y = float(rng.uniform(0.4, 0.6))

    def draw(index: int) -> Drawn:
        if index < BEFORE:
            x = 0.4 - 0.2 * index / BEFORE
        elif index < begin:
            x = 0.2 - 0.6 * (index + 1 - BEFORE) / SLIDE
        elif index < end:
            x = -1.0
        else:
            x = max(0.7, 1.0 - 0.1 * (index - end))
        return _over(source, other, index, scale=scale, at=(x, y))

    return Scene(Kind.ABSENCE, end + AFTER, draw, hidden=(begin, end), returns=(end + 1,))


def fast(rng: Generator, source: Footage, other: Footage) -> Scene:
    """The object goes from side to side, 1.2 times the side of the square of its area a frame."""
    side_px = 40
    scale = _scale(source, side_px)
    y = float(rng.uniform(0.4, 0.6))
    step = 1.2 * side_px / REFERENCE_SIZE

    def draw(index: int) -> Drawn:
        way = (0.1 + step * index) % 1.4  # there and back on 0.15 .. 0.85
        x = 0.15 + (way if way <= 0.7 else 1.4 - way)
        return _over(source, other, index, scale=scale, at=(x, y))

    return Scene(Kind.FAST, SHORT, draw)


def cuts(source: Footage, other: Footage) -> Scene:
    """The source's own video; a mirrored close-up; the other video, without the object; the own video again."""

    def draw(index: int) -> Drawn:
        shot = index // STRETCH
        image, mask = source.image(index), source.mask(index)
        if shot == 1:
            return _close_up(image, mask)
        if shot == 2:
            return Drawn(other.backdrop(index, source), np.zeros_like(mask))
        return Drawn(image, mask)

    hidden = (2 * STRETCH, 3 * STRETCH)
    return Scene(Kind.CUT, 4 * STRETCH, draw, hidden=hidden, returns=(STRETCH, 3 * STRETCH))


def lookalike(source: Footage) -> Scene:
    """The source's own video with a copy of the object that passes in front of it from left to right."""
    frames = 40

    def draw(index: int) -> Drawn:
        image, mask = source.image(index).copy(), source.mask(index)
        piece = cut_out(image, mask, scale=0.8)
        if piece is None:
            return Drawn(image, mask, np.zeros_like(mask))
        y, x = (float(np.flatnonzero(mask.any(axis=axis)).mean()) for axis in (1, 0))
        away = (index - frames / 2) / (frames / 2)  # -1 .. 1, 0 where both meet
        reach = 0.6 * source.width
        copy = paint(image, piece, centre=(x + away * reach, y + 0.1 * piece.alpha.shape[0]))
        return Drawn(image, mask & ~copy, copy)

    return Scene(Kind.LOOKALIKE, frames, draw, lookalike=True)


def reflection(source: Footage, other: Footage) -> Scene:
    """The source's own video behind a pane that mirrors the other one."""

    def draw(index: int) -> Drawn:
        pane = other.backdrop(index, source)[:, ::-1]
        return Drawn(mixed(source.image(index), pane, PANE_SHARE), source.mask(index))

    return Scene(Kind.REFLECTION, SHORT, draw)


def _scale(source: Footage, side_px: int) -> float:
    """Factor that makes the object of frame 0 cover (side_px / 256)^2 of the frame."""
    share = (side_px / REFERENCE_SIZE) ** 2
    return math.sqrt(share * source.height * source.width / max(source.area(0), 1))


def _over(
    source: Footage, other: Footage, index: int, *, scale: float, at: tuple[float, float], opacity: float = 1.0
) -> Drawn:
    """The source's object over the other video, its middle at `at` (x, y as shares of the frame)."""
    canvas = other.backdrop(index, source).copy()
    piece = cut_out(source.image(index), source.mask(index), scale=scale)
    if piece is None:
        return Drawn(canvas, np.zeros(canvas.shape[:2], np.bool_))
    centre = (at[0] * source.width, at[1] * source.height)
    return Drawn(canvas, paint(canvas, piece, centre=centre, opacity=opacity))


def _close_up(image: Picture, mask: Mask) -> Drawn:
    """The mirrored part of a frame around the object, 0.7 of its sides, at full size."""
    height, width = mask.shape
    h, w = round(0.7 * height), round(0.7 * width)
    rows, columns = np.nonzero(mask)
    y, x = (float(rows.mean()), float(columns.mean())) if rows.size else (height / 2, width / 2)
    top = min(max(round(y - h / 2), 0), height - h)
    left = min(max(round(x - w / 2), 0), width - w)
    part = (slice(top, top + h), slice(left, left + w))
    labels = fitted(mask[part].astype(np.uint8) * np.uint8(255), height, width) > 127
    return Drawn(fitted(np.ascontiguousarray(image[part]), height, width)[:, ::-1], labels[:, ::-1])
