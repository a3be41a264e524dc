"""Opening whatever the user names as input: a video file, a folder of pictures or a camera."""

from __future__ import annotations

from pathlib import Path

from sam2lite_mobile.media.frames import ALL_FRAMES, FrameRange, FrameSource
from sam2lite_mobile.media.limits import DEFAULT_LIMITS, MediaLimits


def open_source(source: str, frames: FrameRange = ALL_FRAMES, *, limits: MediaLimits = DEFAULT_LIMITS) -> FrameSource:
    """The frames of a video file, a folder of JPEG or PNG pictures, or a camera given by its index ("0").

    A file or folder whose name is a number is taken before the camera of that number. Raises DataError for a source
    that does not exist, has no frames or crosses `limits`, MissingBackendError where the reading library is missing.
    """
    path = Path(source)
    if path.is_dir():
        from sam2lite_mobile.media.image_folder import ImageFolder

        return ImageFolder(path, frames, limits=limits)
    if source.isascii() and source.isdigit() and not path.exists():
        from sam2lite_mobile.media.camera import Camera

        return Camera(int(source), frames, limits=limits)
    from sam2lite_mobile.media.video_file import VideoFile

    return VideoFile(path, frames, limits=limits)
