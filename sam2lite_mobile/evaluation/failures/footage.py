"""Footage: a sequence of a data set as endless frames with the mask of one object, gone through forth and back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.datasets import DavisLayout, read_frame, read_mask
from sam2lite_mobile.evaluation.failures.painting import Mask, Picture, fitted
from sam2lite_mobile.media.label_maps import object_ids


class Footage:
    """One sequence. The object is the largest of the first frame.

    Raises DataError for fewer than 3 frames, or a first frame without an object.
    """

    def __init__(self, layout: DavisLayout, sequence: str) -> None:
        self.name = sequence
        self._frames = layout.frames(sequence)
        labels = read_mask(self._frames[0].annotation)
        ids = object_ids(labels)
        if len(self._frames) < 3 or not ids:
            got = f"{len(self._frames)} frames, objects {ids}"
            raise DataError(
                explain(sequence, expected="3 frames or more, an object in the first", got=got, do="leave it out")
            )
        self._object_id = max(ids, key=lambda each: int((labels == each).sum()))
        self.height, self.width = labels.shape
        self._read = lru_cache(maxsize=4)(self._read_pair)

    def place(self, index: int) -> int:
        """Which frame of the file is frame `index` of the endless clip 0, 1, ..., n - 1, n - 2, ..., 0, 1, ..."""
        last = len(self._frames) - 1
        step = index % (2 * last)
        return min(step, 2 * last - step)

    def image(self, index: int) -> Picture:
        """Frame `index`, uint8 (height, width, 3)."""
        return self._read(self.place(index))[0]

    def mask(self, index: int) -> Mask:
        """The object in it, bool (height, width)."""
        return self._read(self.place(index))[1]

    def area(self, index: int) -> int:
        """Pixels of the object in it."""
        return int(self.mask(index).sum())

    def backdrop(self, index: int, other: Footage) -> Picture:
        """This footage as a background for `other`, at its size; mirrored where both are the same footage."""
        image = fitted(self.image(index), other.height, other.width)
        return image[:, ::-1] if self.name == other.name else image

    def _read_pair(self, place: int) -> tuple[Picture, Mask]:
        frame = self._frames[place]
        image, labels = read_frame(frame.image), read_mask(frame.annotation)
        if image.shape[:2] != labels.shape or labels.shape != (self.height, self.width):
            raise DataError(
                explain(
                    f"{self.name} frame {frame.name}",
                    expected=f"{(self.height, self.width)}",
                    got=f"{image.shape[:2]} and {labels.shape}",
                    do="keep frames and annotations at one size",
                )
            )
        return image, np.asarray(labels == self._object_id)
