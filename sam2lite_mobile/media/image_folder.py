"""A folder of JPEG or PNG pictures as a clip, in natural order: frame2 comes before frame10."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.frames import ALL_FRAMES, Frame, FrameRange, FrameSource, check_frame_count, check_same_size
from sam2lite_mobile.media.limits import DEFAULT_LIMITS, MediaLimits
from sam2lite_mobile.media.pictures import PICTURE_SUFFIXES, read_picture

FOLDER_RATE = 24
"""Frames a second of a folder, which has no time of its own (the rate of DAVIS)."""


class ImageFolder(FrameSource):
    """The pictures directly inside a folder; other files, hidden files and subfolders are passed over.

    Raises DataError if the folder holds no picture, more than the limits allow, or two whose names differ only by
    their ending (their masks would overwrite each other).
    """

    def __init__(self, folder: Path, frames: FrameRange = ALL_FRAMES, *, limits: MediaLimits = DEFAULT_LIMITS) -> None:
        self._paths = picture_paths(folder, limits=limits)
        self._indices = frames.indices(len(self._paths))
        self._limits = limits
        self.description = f"folder {folder.name}"
        self.frame_count = len(self._paths)

    def __iter__(self) -> Iterator[Frame]:
        first_shape: tuple[int, ...] | None = None
        for index in self._indices:
            path = self._paths[index]
            image = read_picture(path, limits=self._limits)
            first_shape = first_shape or image.shape
            check_same_size(str(path), image, first_shape)
            yield Frame(index, path.stem, index / FOLDER_RATE, image)


def picture_paths(folder: Path, *, limits: MediaLimits = DEFAULT_LIMITS) -> list[Path]:
    """The pictures of a folder in natural order. Raises DataError as `ImageFolder` does."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "."]
    if not paths:
        raise DataError(explain(str(folder), expected="JPEG or PNG pictures", got="none", do="check the path"))
    check_frame_count(str(folder), len(paths), limits=limits)
    by_stem: dict[str, Path] = {}
    for path in paths:
        twin = by_stem.setdefault(path.stem, path)
        if twin is not path:
            raise DataError(
                explain(
                    str(folder),
                    expected="one picture a name",
                    got=f"{twin.name} and {path.name}",
                    do="keep frames and masks in separate folders",
                )
            )
    return sorted(paths, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that compares runs of digits as numbers and the rest as lower-case text.

    The full name is the last resort, so that "1.png" and "01.png" have a fixed order.
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    key = tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)
    return (*key, (2, 0, name))
