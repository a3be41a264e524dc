"""A video file as frames: mp4, mov, webm and their relatives through PyAV, upright and with their own time stamps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.frames import ALL_FRAMES, Frame, FrameRange, FrameSource, check_frame_count, check_same_size
from sam2lite_mobile.media.limits import DEFAULT_LIMITS, MediaLimits, check_file, check_sides
from sam2lite_mobile.media.optional import import_media_library

if TYPE_CHECKING:
    import av

DEMUXERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".qt": "mov",
    ".3gp": "3gp",
    ".webm": "webm",
    ".mkv": "matroska",
    ".avi": "avi",
}
"""The demuxer is chosen by the ending, never by the content: a file that is really a playlist could name other files
and addresses to open."""


class VideoFile(FrameSource):
    """The first video stream of a file.

    Phones store a landscape picture and a rotation; the rotation is applied. Time stamps are the stream's own, counted
    from its first frame. Raises DataError for a missing, unreadable or oversized file, also while iterating.
    """

    def __init__(self, path: Path, frames: FrameRange = ALL_FRAMES, *, limits: MediaLimits = DEFAULT_LIMITS) -> None:
        av = import_media_library("av", purpose="reading videos")
        check_file(path, max_bytes=limits.video_bytes)
        demuxer = DEMUXERS.get(path.suffix.lower())
        if demuxer is None:
            raise DataError(
                explain(str(path), expected=" ".join(DEMUXERS), got=path.suffix or "no ending", do="convert the video")
            )
        self._path, self._frames, self._limits = path, frames, limits
        try:
            # An absolute path: "concat:a|b" would be read as a protocol.
            self._container = av.open(str(path.resolve()), format=demuxer, options={"protocol_whitelist": "file"})
        except (av.FFmpegError, ValueError) as error:
            raise self._broken(error) from error
        try:
            self.description = f"video {path.name}"
            self.frame_count = self._open_stream()
        except DataError:
            self.close()
            raise

    def _open_stream(self) -> int | None:
        if not self._container.streams.video:
            raise DataError(
                explain(str(self._path), expected="a video stream", got="none", do="check that it plays elsewhere")
            )
        stream = self._stream = self._container.streams.video[0]
        check_sides(str(self._path), width=stream.width, height=stream.height, limits=self._limits)
        if stream.frames == 0:  # webm and fragmented mp4 do not say
            return None
        if self._frames.max_frames is None:
            check_frame_count(str(self._path), stream.frames, limits=self._limits)
        self._frames.indices(stream.frames)
        return int(stream.frames)

    def __iter__(self) -> Iterator[Frame]:
        av = import_media_library("av", purpose="reading videos")
        first_shape: tuple[int, ...] | None = None
        first_time_s, index = 0.0, -1
        try:
            for index, decoded in enumerate(self._container.decode(self._stream)):
                if index == self._frames.stop:
                    return
                time_s = index / float(self._stream.average_rate or 30) if decoded.time is None else decoded.time
                if index == 0:
                    first_time_s = time_s
                if index < self._frames.start:
                    continue
                check_frame_count(str(self._path), index - self._frames.start + 1, limits=self._limits)
                check_sides(str(self._path), width=decoded.width, height=decoded.height, limits=self._limits)
                image = upright(decoded)
                first_shape = first_shape or image.shape
                check_same_size(f"{self._path} frame {index}", image, first_shape)
                yield Frame(index, f"{index:05d}", time_s - first_time_s, image)
        except av.FFmpegError as error:
            raise self._broken(error) from error
        if first_shape is None:
            self._frames.indices(index + 1)
            raise DataError(explain(str(self._path), expected="frames", got="none", do="check that it plays elsewhere"))

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._container.close()

    def _broken(self, error: Exception) -> DataError:
        return DataError(
            explain(
                str(self._path), expected="a whole video", got=str(error), do="check that it plays, or convert it again"
            )
        )


def upright(decoded: av.VideoFrame) -> NDArray[np.uint8]:
    """A decoded frame as uint8 (height, width, RGB), turned by the display matrix of its stream.

    `rotation` counts degrees counterclockwise, as np.rot90 does; phones write multiples of 90.
    """
    image = decoded.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, k=round(decoded.rotation / 90)))
