"""Finds and reads annotated videos and stills, and keeps validation sequences out.

Layout under the data folder (palette PNG masks, pixel value = object id, 0 = background):
`train/video/<set>/JPEGImages/<sequence>/<frame>.jpg`, `train/video/<set>/Annotations/<sequence>/<frame>.png`,
`train/images/<set>/images/<name>.jpg`, `train/images/<set>/masks/<name>.png`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam2lite_mobile.errors import DataError, MissingBackendError, explain
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

DAVIS_2016_VALIDATION = frozenset(
    "blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog drift-chicane drift-straight "
    "goat horsejump-high kite-surf libby motocross-jump paragliding-launch parkour scooter-black soapbox".split()
)
"""The 20 validation sequences of DAVIS-2016: dev and hold-out split together. Never trained on, under any folder."""

SHARED_SOURCE_VIDEOS = frozenset(("drift-turn", "motocross-bumps"))
"""DAVIS-2016 training sequences cut from the same videos as validation sequences (drift-chicane, motocross-jump)."""

MAX_SIDE_PX = 4096

_VIDEO_WEIGHTS = {
    "davis2016-train": 0.8,
    "youtube-vos-sub": 0.08,
    "schoolgirls": 0.05,
    "pumavos-examples": 0.04,
    "camvid-objects": 0.03,
}
_STILL_WEIGHTS = {
    "wild-animals": 3.0,
    "feral-cats": 2.5,
    "bsds500": 2.0,
    "coco128-seg": 2.0,
    "human-seg": 2.0,
    "car-parts": 1.5,
    "ccp-person": 1.0,
    "ccp-person-2": 1.0,
    "voc2007-sub": 0.8,
    "faces": 0.7,
    "bags": 0.5,
    "fruits": 0.4,
}
_OTHER_VIDEO_WEIGHT, _OTHER_STILL_WEIGHT = 0.1, 1.0
"""Share of a data set that is not named above."""
_PART_SETS = frozenset(("car-parts", "ccp-person", "ccp-person-2", "faces"))
"""Ids are parts of one object here: all of them together are the object."""


DERIVED_TRACKS = frozenset(("camvid-objects",))
"""Video data sets whose tracks end where objects merge or split: an empty mask there does not mean out of view."""


@dataclass(frozen=True)
class Sequence:
    """An annotated video: paths of its frames and masks in time order, equally many."""

    dataset: str
    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path, ...]


@dataclass(frozen=True)
class Still:
    """An image with one or more label maps (alternative annotations); `parts`: ids are parts of one object."""

    dataset: str
    name: str
    image: Path
    masks: tuple[Path, ...]
    parts: bool


def find_sequences(data_root: Path, *, hold_out: Iterable[str] = ()) -> dict[str, list[Sequence]]:
    """Training sequences by data set, without `hold_out` and `SHARED_SOURCE_VIDEOS`.

    Raises DataError for a validation sequence among them, a name in `hold_out` that does not exist, or frames and
    masks that do not match.
    """
    held_out = set(hold_out)
    found: dict[str, list[Sequence]] = {}
    seen: set[str] = set()
    for dataset in _folders(data_root / "train" / "video"):
        for folder in _folders(dataset / "JPEGImages"):
            refuse_validation_sequence(folder.name)
            seen.add(folder.name)
            if folder.name in held_out or folder.name in SHARED_SOURCE_VIDEOS:
                continue
            found.setdefault(dataset.name, []).append(_sequence(dataset, folder.name))
    unknown = held_out - seen
    if unknown:
        raise DataError(
            explain(
                "held-out sequences",
                expected=f"names of sequences in {data_root / 'train' / 'video'}",
                got=", ".join(sorted(unknown)),
                do="correct the names: a misspelt one would be trained on",
            )
        )
    return found


def find_sequence(data_root: Path, name: str) -> Sequence:
    """The training sequence called `name`, held out or not. Raises DataError where there is none."""
    refuse_validation_sequence(name)
    for dataset in _folders(data_root / "train" / "video"):
        if (dataset / "JPEGImages" / name).is_dir():
            return _sequence(dataset, name)
    raise DataError(explain("training sequence", expected="an existing name", got=name, do="check the data folder"))


def find_stills(data_root: Path) -> dict[str, list[Still]]:
    """Stills with masks by data set. Raises DataError where an image has no mask."""
    found: dict[str, list[Still]] = {}
    for dataset in _folders(data_root / "train" / "images"):
        mask_folders = [folder for folder in _folders(dataset) if folder.name.startswith("masks")]
        for image in sorted((dataset / "images").glob("*.jpg")):
            masks = tuple(folder / f"{image.stem}.png" for folder in mask_folders)
            if not masks or not all(mask.is_file() for mask in masks):
                raise DataError(explain(f"mask of {image}", expected="a PNG of the same name", got="none", do="add it"))
            still = Still(dataset.name, image.stem, image, masks, dataset.name in _PART_SETS)
            found.setdefault(dataset.name, []).append(still)
    return found


def refuse_validation_sequence(name: str) -> None:
    """Raise DataError if `name` is a validation sequence of DAVIS-2016."""
    if name in DAVIS_2016_VALIDATION:
        raise DataError(
            explain(
                "training sequence",
                expected="no sequence of the DAVIS-2016 validation split",
                got=name,
                do="take it out of the training folder: scores on it would mean nothing",
            )
        )


def video_weight(dataset: str) -> float:
    """Share of a video data set, relative to the other ones."""
    return _VIDEO_WEIGHTS.get(dataset, _OTHER_VIDEO_WEIGHT)


def still_weight(dataset: str) -> float:
    """Share of a data set of stills, relative to the other ones."""
    return _STILL_WEIGHTS.get(dataset, _OTHER_STILL_WEIGHT)


class ImageCache:
    """Decoded images with their label maps, read once and kept until `limit_bytes` are used.

    Nothing is evicted: draws are uniform, so dropping old entries for new ones would not raise the hit rate.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._pairs: dict[tuple[Path, Path], tuple[Bytes, Bytes]] = {}

    def read(self, image: Path, mask: Path) -> tuple[Bytes, Bytes]:
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


def read_pair(image: Path, mask: Path) -> tuple[Bytes, Bytes]:
    """As `ImageCache.read`, without a cache."""
    pixels, labels = read_image(image), read_labels(mask)
    if pixels.shape[:2] != labels.shape:
        raise DataError(
            explain(f"size of {mask}", expected=pixels.shape[:2], got=labels.shape, do="use the mask of this image")
        )
    pixels.flags.writeable = False
    labels.flags.writeable = False
    return pixels, labels


def read_image(path: Path) -> Bytes:
    """Pixels (H, W, 3) uint8 RGB. Raises DataError for a missing or broken file or a side over 4096 px."""
    _check_image_file(path)
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError(explain(f"image {path}", expected="a JPEG or PNG", got="broken data", do="replace the file"))
    rgb: Bytes = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    return rgb


def read_labels(path: Path) -> Bytes:
    """Object ids (H, W) uint8 of a palette or grey PNG.

    Read with Pillow: OpenCV would turn palette indices into colours.
    Raises DataError for a missing or broken file, another pixel format, or a side over 4096 px.
    """
    mode = _check_image_file(path)
    if mode not in ("P", "L"):
        raise DataError(explain(f"mask {path}", expected="palette or grey, 8 bit", got=mode, do="convert the file"))
    try:
        with Image.open(path) as picture:
            return np.array(picture, dtype=np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(explain(f"mask {path}", expected="a whole PNG", got=str(error), do="replace it")) from error


def _check_image_file(path: Path) -> str:
    """Pixel format of an image file, from its header alone: sizes are checked before anything is decoded."""
    try:
        with Image.open(path) as picture:
            size, mode = picture.size, picture.mode
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(explain(f"image {path}", expected="a JPEG or PNG", got=str(error), do="replace it")) from error
    if max(size) > MAX_SIDE_PX:
        raise DataError(
            explain(f"image {path}", expected=f"sides up to {MAX_SIDE_PX} px", got=size, do="reduce the image")
        )
    return mode


def _sequence(dataset: Path, name: str) -> Sequence:
    frames = tuple(sorted((dataset / "JPEGImages" / name).glob("*.jpg")))
    masks = tuple(dataset / "Annotations" / name / f"{frame.stem}.png" for frame in frames)
    missing = [mask.name for mask in masks if not mask.is_file()]
    if len(frames) < 2 or missing:
        raise DataError(
            explain(
                f"sequence {dataset.name}/{name}",
                expected="two frames or more with a mask each",
                got=f"{len(frames)} frames, {len(missing)} without a mask",
                do="complete the data set",
            )
        )
    return Sequence(dataset.name, name, frames, masks)


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
