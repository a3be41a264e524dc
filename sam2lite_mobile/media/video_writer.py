"""Writing frames to an mp4 file with the time stamps that they came with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.media.optional import import_media_library

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

TIME_BASE = Fraction(1, 60_000)
"""Ticks that 24, 25, 30, 50, 60, 30000/1001 and 60000/1001 frames a second meet exactly; MPEG-4 allows up to 65535."""
ENCODERS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("mpeg4", {"qmin": "2", "qmax": "5"}))
"""H.264 where this build of FFmpeg has it, MPEG-4 part 2 elsewhere; both play on phones and in browsers' players."""


class VideoWriter:
    """An mp4 file that grows a frame at a time; complete and playable once closed.

    A context manager that closes the file also after an error, so that what was written can be played.
    """

    def __init__(self, path: Path) -> None:
        self._av = import_media_library("av", purpose="writing videos")
        self._path = path
        self._container: OutputContainer = self._av.open(str(path.resolve()), "w", format="mp4")
        self._stream: VideoStream | None = None
        self._shape: tuple[int, ...] = ()
        self._last_tick = -1
        self._origin_s = 0.0

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Append a frame shown from `time_s` (seconds; the first frame is at 0 in the file).

        image: uint8 (height, width, RGB), always the same size. A time that is not later than the last one is
        moved one tick behind it: broken clocks in a video must not end the run. Raises ContractError for another size,
        DataError if the encoder fails.
        """
        if self._stream is None:
            self._stream, self._shape, self._origin_s = self._add_stream(image.shape), image.shape, time_s
        if image.shape != self._shape:
            raise ContractError(
                explain("video frame", expected=self._shape, got=image.shape, do="write one video for each size")
            )
        tick = max(round((time_s - self._origin_s) / TIME_BASE), self._last_tick + 1)
        self._last_tick = tick
        frame = self._av.VideoFrame.from_ndarray(_even_sides(image), format="rgb24")
        frame.pts, frame.time_base = tick, TIME_BASE
        self._mux(frame)

    def close(self) -> None:
        """Flush the encoder and finish the file; closing twice is harmless."""
        if self._stream is not None:
            self._mux(None)
            self._stream = None
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _add_stream(self, shape: tuple[int, ...]) -> VideoStream:
        encoder, options = next(pair for pair in ENCODERS if pair[0] in self._av.codecs_available)
        stream = cast("VideoStream", self._container.add_stream(encoder, options=options))
        stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        return stream

    def _mux(self, frame: object) -> None:
        if self._stream is None:
            return
        try:
            for packet in self._stream.encode(frame):  # type: ignore[arg-type]
                self._container.mux(packet)
        except self._av.FFmpegError as error:
            raise DataError(
                explain(str(self._path), expected="room for the video", got=str(error), do="check the disk")
            ) from error


def _even_sides(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with its last row or column repeated where a side is odd: 4:2:0 chroma needs even sides."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else image
