"""What is accepted from outside: bounds on side lengths, frames and file sizes, and the checks that apply them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.runtime.frames import MAX_FRAME_SIDE


@dataclass(frozen=True)
class MediaLimits:
    """Bounds for media of unknown origin. The defaults take 8K video and an hour of film.

    `side_px` bounds width and height, `image_bytes` one picture or mask file, `video_bytes` one video file, `frames`
    one clip, `objects` the ids of one mask.
    """

    side_min_px: int = 16
    side_px: int = MAX_FRAME_SIDE
    image_bytes: int = 64 * 2**20
    video_bytes: int = 16 * 2**30
    frames: int = 200_000
    objects: int = 64


DEFAULT_LIMITS = MediaLimits()


def check_file(path: Path, *, max_bytes: int) -> None:
    """Raise DataError unless `path` is a regular file with 1 to `max_bytes` bytes."""
    if not path.is_file():
        raise DataError(explain(str(path), expected="a file", got=_kind(path), do="check the path"))
    size = path.stat().st_size
    if not 0 < size <= max_bytes:
        raise DataError(
            explain(str(path), expected=f"1 to {max_bytes} bytes", got=size, do="check the file, or cut it into pieces")
        )


def check_sides(where: str, *, width: int, height: int, limits: MediaLimits) -> None:
    """Raise DataError unless both sides (pixels) lie within the limits."""
    if not all(limits.side_min_px <= side <= limits.side_px for side in (width, height)):
        raise DataError(
            explain(
                where,
                expected=f"sides of {limits.side_min_px} to {limits.side_px} px",
                got=f"{width} x {height}",
                do="scale it before tracking",
            )
        )


def _kind(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    return "something that is not a regular file" if path.exists() else "no such file"
