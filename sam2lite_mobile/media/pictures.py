"""Reading one picture: JPEG and PNG frames of unknown origin, through Pillow, upright, as RGB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.limits import DEFAULT_LIMITS, MediaLimits, check_file, check_sides
from sam2lite_mobile.media.optional import import_media_library

if TYPE_CHECKING:
    from PIL import Image

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


def read_picture(path: Path, *, limits: MediaLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """A JPEG or PNG picture as uint8 (height, width, RGB), turned upright by its EXIF orientation.

    Raises DataError if the file is missing, is not such a picture, is cut short or crosses the limits.
    """
    with open_image(path, formats=("JPEG", "PNG"), limits=limits) as image:
        ops = import_media_library("PIL.ImageOps", purpose="reading pictures")
        return np.array(ops.exif_transpose(image).convert("RGB"), dtype=np.uint8)


@contextmanager
def open_image(path: Path, *, formats: tuple[str, ...], limits: MediaLimits) -> Iterator[Image.Image]:
    """A Pillow image of one of `formats`, with its header checked against the limits and its pixels decoded.

    Only the named decoders are tried, so that a file cannot choose a rarely used one. Every failure while decoding
    is a DataError that names the file.
    """
    pillow = import_media_library("PIL.Image", purpose="reading pictures")
    check_file(path, max_bytes=limits.image_bytes)
    try:
        image: Image.Image = pillow.open(path, formats=formats)
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise _unreadable(path, formats, error) from error
    with image:
        check_sides(str(path), width=image.width, height=image.height, limits=limits)
        try:
            image.load()
        except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
            raise _unreadable(path, formats, error) from error
        yield image


def _unreadable(path: Path, formats: tuple[str, ...], error: Exception) -> DataError:
    return DataError(
        explain(str(path), expected=f"a whole {' or '.join(formats)} file", got=str(error), do="write the file again")
    )
