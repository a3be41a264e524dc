"""One frame, and what every source of frames has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.limits import MediaLimits


@dataclass(frozen=True)
class Frame:
    """A decoded picture, upright.

    index: position in its source, from 0, also when earlier frames were skipped.
    name: what files about this frame are called, without ending: "00012", or the picture's own name in a folder.
    time_s: presentation time in seconds from the start of the source; steps may differ (variable frame rate).
    image: uint8 (height, width, RGB), contiguous.
    """

    index: int
    name: str
    time_s: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class FrameRange:
    """Which frames of a source are read: from `start`, and at most `max_frames` of them (None: to the end)."""

    start: int = 0
    max_frames: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise DataError(explain("start frame", expected="0 or more", got=self.start, do="count frames from 0"))
        if self.max_frames is not None and self.max_frames < 1:
            raise DataError(explain("number of frames", expected="1 or more", got=self.max_frames, do="drop the limit"))

    @property
    def stop(self) -> int | None:
        """Index after the last frame to read; None where only the end of the source stops."""
        return None if self.max_frames is None else self.start + self.max_frames

    def indices(self, frame_count: int) -> range:
        """Indices to read of a source with `frame_count` frames. Raises DataError if none is left."""
        if self.start >= frame_count:
            raise DataError(
                explain("start frame", expected=f"0 to {frame_count - 1}", got=self.start, do="start inside the clip")
            )
        return range(self.start, frame_count if self.stop is None else min(self.stop, frame_count))


ALL_FRAMES = FrameRange()


class FrameSource(ABC):
    """Frames in order, all of one size; a context manager that frees the file or the camera.

    description: what the source is, for reports. frame_count: frames in the whole source, None where only reading
    tells. Iterating raises DataError for a broken file or a crossed limit.
    """

    description: str
    frame_count: int | None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None:  # noqa: B027 - a folder has nothing to free
        """Free what the source holds; closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_frame_count(where: str, count: int, *, limits: MediaLimits) -> None:
    """Raise DataError if a clip has more frames than the limits allow."""
    if count > limits.frames:
        raise DataError(
            explain(where, expected=f"at most {limits.frames} frames", got=count, do="cut it into shorter clips")
        )


def check_same_size(where: str, image: NDArray[np.uint8], first_shape: tuple[int, ...]) -> None:
    """Raise DataError unless a frame has the shape of the first one: the tracker works on one size."""
    if image.shape != first_shape:
        raise DataError(
            explain(
                where,
                expected=f"{first_shape[1]} x {first_shape[0]} as in the first frame",
                got=f"{image.shape[1]} x {image.shape[0]}",
                do="cut the clip where its size changes",
            )
        )
