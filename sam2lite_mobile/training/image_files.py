"""Reads images and label maps of training data, from files of their own or from inside a pack's shard."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam2lite_mobile.errors import DataError, MissingBackendError, explain
from sam2lite_mobile.media.limits import DEFAULT_LIMITS
from sam2lite_mobile.training.clip_settings import Bytes

try:
    import cv2
    from PIL import Image, UnidentifiedImageError
except ImportError as error:
    raise MissingBackendError(
        explain(
            "training clips",
            expected="opencv-python-headless and pillow",
            got=str(error),
            do="pip install 'sam2lite-mobile[train]'",
        )
    ) from error

MAX_SIDE_PX = 4096
MAX_FILE_BYTES = DEFAULT_LIMITS.image_bytes


@dataclass(frozen=True)
class PackedFile:
    """A file inside an uncompressed tar file: `size` bytes from `offset` on. `stem` is its name, for messages."""

    archive: Path
    offset: int
    size: int
    stem: str

    def __str__(self) -> str:
        return f"{self.stem} in {self.archive} at {self.offset}"


ImageFile = Path | PackedFile
"""Where an image or a label map lies."""


class ImageCache:
    """Decoded images with their label maps, read once and kept until `limit_bytes` are used.

    Nothing is evicted: draws are uniform, so dropping old entries for new ones would not raise the hit rate.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._pairs: dict[tuple[ImageFile, ImageFile], tuple[Bytes, Bytes]] = {}

    def read(self, image: ImageFile, mask: ImageFile) -> tuple[Bytes, Bytes]:
        """Pixels (H, W, 3) uint8 RGB and labels (H, W) uint8 of a pair of files; read-only arrays.

        Raises DataError for a missing or broken file, a side over 4096 px, or sizes that differ.
        """
        pair = self._pairs.get((image, mask))
        if pair is None:
            pair = read_pair(image, mask)
            size = pair[0].nbytes + pair[1].nbytes
            if self._used_bytes + size <= self._limit_bytes:
                self._pairs[image, mask] = pair
                self._used_bytes += size
        return pair


@functools.cache
def shared_images(limit_bytes: int) -> ImageCache:
    """The cache of this process: streams of other clip sizes or phases read the same files."""
    return ImageCache(limit_bytes)


def read_pair(image: ImageFile, mask: ImageFile) -> tuple[Bytes, Bytes]:
    """As `ImageCache.read`, without a cache."""
    pixels, labels = read_image(image), read_labels(mask)
    if pixels.shape[:2] != labels.shape:
        raise DataError(
            explain(f"size of {mask}", expected=pixels.shape[:2], got=labels.shape, do="use the mask of this image")
        )
    pixels.flags.writeable = False
    labels.flags.writeable = False
    return pixels, labels


def read_image(file: ImageFile) -> Bytes:
    """Pixels (H, W, 3) uint8 RGB. Raises DataError for a missing or broken file or a side over 4096 px."""
    data = read_bytes(file)
    _check_header(file, data)
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(explain(f"image {file}", expected="a JPEG or PNG", got="broken data", do="replace the file"))
    rgb: Bytes = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return rgb


def read_labels(file: ImageFile) -> Bytes:
    """Object ids (H, W) uint8 of a palette or grey PNG.

    Read with Pillow: OpenCV would turn palette indices into colours.
    Raises DataError for a missing or broken file, another pixel format, or a side over 4096 px.
    """
    data = read_bytes(file)
    mode, _ = _check_header(file, data)
    if mode not in ("P", "L"):
        raise DataError(explain(f"mask {file}", expected="palette or grey, 8 bit", got=mode, do="convert the file"))
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return np.array(picture, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(explain(f"mask {file}", expected="a whole PNG", got=str(error), do="replace it")) from error


def whole_file_format(file: ImageFile, data: bytes) -> str:
    """The format ("JPEG", "PNG") of an image file's content, of which every pixel can be decoded.

    OpenCV fills what is missing of a cut JPEG with grey; Pillow tells. Raises DataError where the file is cut short.
    """
    _, kind = _check_header(file, data)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(explain(f"image {file}", expected="a whole image", got=str(error), do="replace it")) from error
    return kind


def read_bytes(file: ImageFile) -> bytes:
    """The content of a file. Raises DataError where it is missing, cut short or larger than 64 MiB."""
    try:
        if isinstance(file, Path):
            with file.open("rb") as source:
                data = source.read(MAX_FILE_BYTES + 1)
        else:
            with file.archive.open("rb") as source:
                source.seek(file.offset)
                data = source.read(file.size)
    except OSError as error:
        raise DataError(
            explain(f"image {file}", expected="a JPEG or PNG", got=error.strerror, do="replace it")
        ) from error
    if len(data) > MAX_FILE_BYTES or (isinstance(file, PackedFile) and len(data) < file.size):
        raise DataError(
            explain(
                f"image {file}",
                expected=f"a whole file of at most {MAX_FILE_BYTES} bytes",
                got=f"{len(data)} bytes",
                do="replace it",
            )
        )
    return data


def _check_header(file: ImageFile, data: bytes) -> tuple[str, str]:
    """Pixel format and file format of an image, from its header: sizes are checked before anything is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            size, mode, kind = picture.size, picture.mode, picture.format
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow's own message would name a buffer in memory, another one every time.
        got = "neither" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(explain(f"image {file}", expected="a JPEG or PNG", got=got, do="replace it")) from error
    if max(size) > MAX_SIDE_PX:
        raise DataError(
            explain(f"image {file}", expected=f"sides up to {MAX_SIDE_PX} px", got=size, do="reduce the image")
        )
    return mode, str(kind)
