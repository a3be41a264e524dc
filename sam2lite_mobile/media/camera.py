"""A live camera as frames, through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.frames import ALL_FRAMES, Frame, FrameRange, FrameSource, check_same_size
from sam2lite_mobile.media.limits import DEFAULT_LIMITS, MediaLimits, check_sides
from sam2lite_mobile.media.optional import import_media_library


class Camera(FrameSource):
    """Camera number `device`. It has no end: iteration stops at the frame range, at the limit, or when it is unplugged.

    Time stamps are taken when a frame arrives. A frame that comes while the last one is being tracked replaces those
    before it where the driver allows it, so that the picture stays live. Raises DataError if the camera does not open.
    """

    def __init__(self, device: int, frames: FrameRange = ALL_FRAMES, *, limits: MediaLimits = DEFAULT_LIMITS) -> None:
        self._cv2 = import_media_library("cv2", purpose="reading a camera")
        self._frames, self._limits = frames, limits
        # OpenCV would print what the error below says in a line.
        self._cv2.utils.logging.setLogLevel(self._cv2.utils.logging.LOG_LEVEL_ERROR)
        self._capture = self._cv2.VideoCapture(device)
        if not self._capture.isOpened():
            raise DataError(
                explain(
                    f"camera {device}",
                    expected="a camera that opens",
                    got="none",
                    do="check the number and the permission, or name a file or folder",
                )
            )
        self._capture.set(self._cv2.CAP_PROP_BUFFERSIZE, 1)
        self.description = f"camera {device}"
        self.frame_count = None

    def __iter__(self) -> Iterator[Frame]:
        first_shape: tuple[int, ...] | None = None
        started_s = time.monotonic()
        stop = self._frames.start + self._limits.frames if self._frames.stop is None else self._frames.stop
        for index in range(stop):
            arrived, picture = self._capture.read()
            if not arrived:
                return
            if index < self._frames.start:
                continue
            image = np.ascontiguousarray(picture[:, :, ::-1])  # OpenCV delivers BGR
            check_sides(self.description, width=image.shape[1], height=image.shape[0], limits=self._limits)
            first_shape = first_shape or image.shape
            check_same_size(self.description, image, first_shape)
            yield Frame(index, f"{index:05d}", time.monotonic() - started_s, image)

    def close(self) -> None:
        """Give the camera back; closing twice is harmless."""
        self._capture.release()
