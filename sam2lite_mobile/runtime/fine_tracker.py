"""A tracker with a virtual camera: where all objects are tiny, it tracks in a crop of the frame around them.

One crop for all objects, so a frame still costs one image encoding. When the crop changes, the last frame is encoded
once more in the new crop, its masks with it, and what memory holds of that frame is written again there
(`Tracker.recast`). Older tokens, anchors above all, keep the places of the crop that they were encoded in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.fine_crop import WHOLE, PixelBox, fitting_divisor, placed_crop, whole
from sam2lite_mobile.runtime.frame_result import FrameResult, ObjectResult
from sam2lite_mobile.runtime.frames import check_frame
from sam2lite_mobile.runtime.masks import check_object_id
from sam2lite_mobile.runtime.prompts import Box, Point, Prompt, check_prompt
from sam2lite_mobile.runtime.redetection import SEARCH_AFTER
from sam2lite_mobile.runtime.tracker import Tracker

FINER_AFTER = 24
"""Frames in a row on which the objects have to be small before a finer crop is taken, unless a prompt says where they
are: what is left of a large object that is hidden, or taken for it, is not a tiny object. A second; with 4 frames
re-detection lost what it had won where a board hides the object (docs/failures.md)."""


@dataclass(frozen=True)
class _Sighting:
    """Where an object was last in view, whether a prompt put it there, and the frames out of view since."""

    extent: PixelBox
    prompted: bool
    unseen: int = 0


class FineTracker:
    """Steps a tracker in crops of the frames; masks and prompts are those of the whole frame.

    tracker: without objects or frames, and from then on stepped through this object alone. The whole frame is looked
    at while an object is larger than `fine_crop.ENTER` says, objects are far apart, an object has been out of view for
    `SEARCH_AFTER` frames, or a new object is clicked on, whose size nobody knows. A frame on which the crop changes
    costs one more image encoding, and a memory encoding an object; `latency_ms` has both.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._frame: NDArray[np.uint8] | None = None
        self._crop: PixelBox | None = None
        self._divisor = WHOLE
        self._small_frames = 0
        self._seen: dict[int, _Sighting] = {}
        self._masks: dict[int, NDArray[np.bool_]] = {}

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Ids of the tracked objects, ascending."""
        return self._tracker.object_ids

    @property
    def crop(self) -> PixelBox | None:
        """The part of the last frame that was looked at, None before the first."""
        return self._crop

    def step(
        self,
        frame: NDArray[np.uint8],
        *,
        prompts: Mapping[int, Prompt] | None = None,
        size: int | None = None,
        window: int | None = None,
    ) -> FrameResult:
        """Track every object on the next frame; arguments, result and errors as `Tracker.step` has them.

        Masks are of the whole frame, `mask_logits` of the result's `crop`.
        """
        prompts = {} if prompts is None else prompts
        check_frame(frame)
        height, width = frame.shape[:2]
        if self._frame is not None and self._frame.shape != frame.shape:
            expected, got = f"{self._frame.shape[1]} x {self._frame.shape[0]}", f"{width} x {height}"
            raise _error("frame", expected, got, "call reset before another video")
        for object_id, prompt in prompts.items():
            check_object_id(object_id)
            check_prompt(prompt, height, width)

        divisor, crop = self._choice(prompts, height, width)
        spent_ms = self._look_at(crop)
        inside = {object_id: _inside(prompt, crop) for object_id, prompt in prompts.items()}
        result = self._tracker.step(frame[crop.slices], prompts=inside, size=size, window=window)

        self._frame, self._crop, self._divisor = frame.copy(), crop, divisor
        objects = {object_id: self._noted(each, crop) for object_id, each in result.objects.items()}
        latency_ms = {stage: value + spent_ms.get(stage, 0.0) for stage, value in result.latency_ms.items()}
        return replace(result, objects=objects, latency_ms=latency_ms)

    def correct(self, object_id: int, prompt: Prompt) -> ObjectResult:
        """Decode one object again on the last frame, as `Tracker.correct` does; in the whole frame if the prompt does
        not lie in the crop."""
        if self._frame is None or self._crop is None:
            raise _error("correction", "a frame to correct", "no frame yet", "call step first")
        height, width = self._frame.shape[:2]
        check_object_id(object_id)
        check_prompt(prompt, height, width)
        if not self._crop.contains(_extent(prompt, height, width)):
            self._look_at(whole(height, width))
            self._divisor = WHOLE
        return self._noted(self._tracker.correct(object_id, _inside(prompt, self._crop)), self._crop)

    def memory_cells(self, object_id: int) -> dict[int, NDArray[np.int64]]:
        """As `Tracker.memory_cells`; cells are those of the crop that each frame was looked at in."""
        return self._tracker.memory_cells(object_id)

    def remove(self, object_id: int) -> None:
        """Forget an object. Raises ContractError if it is not tracked."""
        self._tracker.remove(object_id)
        self._seen.pop(object_id, None)
        self._masks.pop(object_id, None)

    def reset(self) -> None:
        """Forget all objects and the last frame: the next frame has index 0 and may have another size."""
        self._tracker.reset()
        self._frame = self._crop = None
        self._divisor, self._small_frames = WHOLE, 0
        self._seen.clear()
        self._masks.clear()

    def _choice(self, prompts: Mapping[int, Prompt], height: int, width: int) -> tuple[int, PixelBox]:
        """The divisor of the frame's sides and the crop for the next frame."""
        everything = whole(height, width)
        extents = {object_id: seen.extent for object_id, seen in self._seen.items()}
        for object_id, prompt in prompts.items():
            shown = _extent(prompt, height, width)
            if prompt.points:
                # Clicks say where, not how large: a new object may take up all of the frame.
                known = extents.get(object_id, everything if prompt.box is None else shown)
                shown = _joined((known, shown))
            extents[object_id] = shown
        searched = any(each.unseen >= SEARCH_AFTER for each in self._seen.values())
        if not extents or searched:
            self._small_frames = 0
            return WHOLE, everything
        extent = _joined(extents.values())
        divisor = fitting_divisor(extent, height, width, current=self._divisor)
        self._small_frames = self._small_frames + 1 if divisor > self._divisor else 0
        if divisor > self._divisor and not prompts and self._small_frames < FINER_AFTER:
            divisor = self._divisor
        current = everything if self._crop is None else self._crop
        return divisor, placed_crop(extent, height, width, divisor=divisor, current=current)

    def _look_at(self, crop: PixelBox) -> dict[str, float]:
        """See the last frame again in another crop, if this is one; the milliseconds that it took, by stage."""
        if self._frame is None or self._crop is None or crop == self._crop:
            return {}
        parts = {object_id: mask[crop.slices] for object_id, mask in self._masks.items()}
        masks = {object_id: part for object_id, part in parts.items() if part.any()}
        anchors = [object_id for object_id in masks if self._seen[object_id].prompted]
        spent_ms = self._tracker.recast(self._frame[crop.slices], masks, anchors=anchors)
        self._crop = crop
        return spent_ms

    def _noted(self, result: ObjectResult, crop: PixelBox) -> ObjectResult:
        """The result with its mask in the whole frame; remembers where the object is."""
        if self._frame is None:
            raise _error("result", "a frame", "none", "call step first")
        height, width = self._frame.shape[:2]
        mask = np.zeros((height, width), np.bool_)
        mask[crop.slices] = result.mask
        extent = PixelBox.of_mask(mask)
        seen = self._seen.get(result.object_id, _Sighting(whole(height, width), result.prompted))
        remembered = 0 in result.tokens_by_age  # a frame of doubt (`redetection.py`) does not move the camera
        if extent is not None and remembered:
            self._seen[result.object_id] = _Sighting(extent, result.prompted)
            self._masks[result.object_id] = mask
        else:
            self._seen[result.object_id] = replace(seen, unseen=seen.unseen + (not result.visible))
            self._masks.pop(result.object_id, None)
        return replace(result, mask=mask, crop=crop)


def _joined(boxes: Iterable[PixelBox]) -> PixelBox:
    """The smallest box that contains all of these, one or more."""
    joined = PixelBox.around(boxes)
    if joined is None:
        raise _error("boxes", "one or more", "none", "give one")
    return joined


def _extent(prompt: Prompt, height: int, width: int) -> PixelBox:
    """The pixels that a prompt for a frame (height, width) touches."""
    boxes = []
    if prompt.mask is not None:
        boxes.append(PixelBox.of_mask(prompt.mask) or whole(height, width))
    if prompt.box is not None:
        top, left = floor(prompt.box.y0), floor(prompt.box.x0)
        boxes.append(PixelBox(top, left, ceil(prompt.box.y1), ceil(prompt.box.x1)))
    for point in prompt.points:
        top, left = min(floor(point.y), height - 1), min(floor(point.x), width - 1)
        boxes.append(PixelBox(top, left, top + 1, left + 1))
    return _joined(boxes)


def _inside(prompt: Prompt, crop: PixelBox) -> Prompt:
    """The same prompt in pixels of the crop. A mask loses what lies outside of it."""
    box = prompt.box
    moved = None
    if box is not None:
        moved = Box(box.x0 - crop.left, box.y0 - crop.top, box.x1 - crop.left, box.y1 - crop.top)
    points = tuple(Point(each.x - crop.left, each.y - crop.top, each.label) for each in prompt.points)
    mask = None if prompt.mask is None else prompt.mask[crop.slices]
    return Prompt(box=moved, points=points, mask=mask)


def _error(what: str, expected: object, got: object, do: str) -> ContractError:
    return ContractError(explain(what, expected=expected, got=got, do=do))
