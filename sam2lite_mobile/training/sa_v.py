"""Reads SA-V: 24 fps videos, and JSON beside them with a run-length mask per object in every fourth frame.

Files: `sav_train/<any folders>/<id>.mp4` with `<id>_manual.json`, `<id>_auto.json` or both (sav_dataset/README.md of
the SAM 2 repository). The manual masks are taken where there are any. The JSON is checked before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.json_file import NOT_JSON
from sam2lite_mobile.media.limits import check_file
from sam2lite_mobile.media.video_file import VideoFile
from sam2lite_mobile.training.annotated import refuse_validation_sequence
from sam2lite_mobile.training.clip_settings import Bytes
from sam2lite_mobile.training.image_files import MAX_SIDE_PX
from sam2lite_mobile.training.rle import decode_mask, run_lengths

FRAMES_PER_ANNOTATION = 4
MAX_JSON_BYTES = 128 * 2**20
MAX_OBJECTS = 255
"""A label map is uint8 and 0 is background."""

Side = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE_PX)]


class RunLengthMask(msgspec.Struct, frozen=True):
    """A mask as COCO writes it: size (height, width), and runs in column order."""

    size: tuple[Side, Side]
    counts: str


class Masklets(msgspec.Struct, frozen=True):
    """What is read of an annotation: `masklet` by annotated frame, then by object; `masklet_id` names the objects."""

    video_height: float
    video_width: float
    video_split: str
    masklet: Annotated[tuple[tuple[RunLengthMask, ...], ...], msgspec.Meta(min_length=1, max_length=100_000)]
    masklet_id: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0)], ...], msgspec.Meta(max_length=MAX_OBJECTS)]


@dataclass(frozen=True)
class SavVideo:
    """A video of SA-V and its annotation."""

    name: str
    video: Path
    annotation: Path

    def frames(self) -> Iterator[tuple[str, Bytes, Bytes]]:
        """Name, pixels (H, W, 3) uint8 RGB and labels (H, W) uint8 of every annotated frame, in time order.

        Objects overlap in SA-V and do not in a label map: smaller ones lie on top of larger ones, in the same order
        in every frame. The label is `masklet_id` + 1, or the position + 1 where an id is larger than 254.
        Raises DataError for an annotation or a video that is broken, or masks of another size than the video.
        """
        masklets = read_masklets(self.annotation)
        order = _large_to_small(masklets)
        with VideoFile(self.video) as video:
            for frame in video:
                position, between = divmod(frame.index, FRAMES_PER_ANNOTATION)
                if position >= len(masklets.masklet):
                    return
                if between == 0:
                    yield frame.name, frame.image, _labels(masklets, position, frame.image, order=order)


def find_videos(root: Path) -> tuple[list[SavVideo], list[Path]]:
    """The videos with an annotation under `root`, by name, and the videos without one."""
    found, bare = [], []
    top = root / "sav_train" if (root / "sav_train").is_dir() else root
    for video in sorted(top.rglob("*.mp4"), key=lambda path: (path.stem, path)):
        refuse_validation_sequence(video.stem)
        annotations = [video.with_name(f"{video.stem}_{kind}.json") for kind in ("manual", "auto")]
        annotation = next((path for path in annotations if path.is_file()), None)
        if annotation is None:
            bare.append(video)
        else:
            found.append(SavVideo(video.stem, video, annotation))
    return found, bare


def read_masklets(path: Path) -> Masklets:
    """The annotation in a file. Raises DataError where it is too large or not as described, or not for training."""
    check_file(path, max_bytes=MAX_JSON_BYTES)
    try:
        masklets = msgspec.json.decode(path.read_bytes(), type=Masklets)
    except (OSError, *NOT_JSON) as error:
        raise _refused(path, expected="an annotation of SA-V", got=str(error)) from error
    size = (masklets.video_height, masklets.video_width)
    if masklets.video_split != "train":
        raise _refused(path, expected="a video of the training split", got=masklets.video_split)
    for position, masks in enumerate(masklets.masklet):
        if len(masks) != len(masklets.masklet_id):
            got = f"{len(masks)} in frame {position}"
            raise _refused(path, expected=f"a mask for each of {len(masklets.masklet_id)} objects", got=got)
        for mask in masks:
            if mask.size != size:
                raise _refused(path, expected=f"masks of the video's size {size}", got=mask.size)
    return masklets


def _large_to_small(masklets: Masklets) -> list[int]:
    """Positions of the objects, the one with the largest area over all frames first."""
    areas = [0] * len(masklets.masklet_id)
    for masks in masklets.masklet:
        for index, mask in enumerate(masks):
            areas[index] += sum(run_lengths(mask.counts, pixels=mask.size[0] * mask.size[1])[1::2])
    return sorted(range(len(areas)), key=lambda index: -areas[index])


def _labels(masklets: Masklets, position: int, image: Bytes, *, order: list[int]) -> Bytes:
    ids = masklets.masklet_id
    by_position = max(ids, default=0) >= MAX_OBJECTS or len(set(ids)) < len(ids)
    height, width = image.shape[:2]
    labels = np.zeros((height, width), dtype=np.uint8)
    for index in order:
        mask = masklets.masklet[position][index]
        if mask.size != (height, width):
            raise DataError(
                explain(
                    f"masks of frame {position}",
                    expected=f"the video's size {(height, width)}",
                    got=mask.size,
                    do="use the annotation of this video",
                )
            )
        labels[decode_mask(mask.counts, height=height, width=width) > 0] = (index if by_position else ids[index]) + 1
    return labels


def _refused(path: Path, *, expected: object, got: object) -> DataError:
    return DataError(explain(f"annotation {path}", expected=expected, got=got, do="download it again"))
