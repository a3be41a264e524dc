"""Mask files: PNG label maps in DAVIS layout, pixel value = object id, 0 = background."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.media.limits import DEFAULT_LIMITS, MediaLimits
from sam2lite_mobile.media.optional import import_media_library
from sam2lite_mobile.media.palette import davis_palette
from sam2lite_mobile.media.pictures import open_image
from sam2lite_mobile.runtime.fine_crop import whole
from sam2lite_mobile.runtime.frame_result import ObjectResult
from sam2lite_mobile.runtime.masks import label_map

BINARY_FOREGROUND = 255
"""Two-valued masks (DAVIS-2016, most editors) are black and white; their foreground is read as object 1."""


def read_label_map(path: Path, *, limits: MediaLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """A palette, greyscale or one-bit PNG as uint8 (height, width) of object ids.

    A map that holds nothing but 0 and 255 is a binary mask: 255 becomes object 1. Raises DataError for a colour or
    16-bit picture, more ids than the limits allow (an anti-aliased mask), or an unreadable file.
    """
    with open_image(path, formats=("PNG",), limits=limits) as image:
        if image.mode not in ("P", "L", "1"):
            raise DataError(
                explain(
                    str(path),
                    expected="an 8-bit palette or greyscale PNG",
                    got=f"mode {image.mode}",
                    do="save object ids, not colours",
                )
            )
        labels: NDArray[np.uint8] = np.array(image, dtype=np.uint8)
    ids = object_ids(labels)
    if ids == (BINARY_FOREGROUND,):
        labels = (labels == BINARY_FOREGROUND).view(np.uint8)
    if len(ids) > limits.objects:
        raise DataError(
            explain(
                str(path),
                expected=f"at most {limits.objects} object ids",
                got=len(ids),
                do="threshold the mask: a soft edge counts as many objects",
            )
        )
    return labels


def exclusive_label_map(objects: Iterable[ObjectResult], height: int, width: int) -> NDArray[np.uint8]:
    """The objects' masks on one frame as uint8 (height, width) of object ids, one id a pixel.

    Where masks overlap, the higher logit wins (`runtime.masks.label_map`). Pixels of one mask alone are taken as they
    are: the mask of a mask prompt is sharper than the logits that stand for it. Objects out of view have no pixels.
    """
    labels = np.zeros((height, width), dtype=np.uint8)
    claims = np.zeros((height, width), dtype=np.uint8)
    visible = [each for each in objects if each.visible]
    for each in visible:
        labels[each.mask] = each.object_id
        claims += each.mask
    contested = claims > 1
    if contested.any():
        winners = np.zeros_like(labels)
        for crop in {each.crop for each in visible}:
            part = whole(height, width) if crop is None else crop
            logits = {each.object_id: each.mask_logits for each in visible if each.crop == crop}
            winners[part.slices] = label_map(logits, part.height, part.width)
        contested &= winners > 0
        labels[contested] = winners[contested]
    return labels


def object_ids(labels: NDArray[np.uint8]) -> tuple[int, ...]:
    """The ids in a label map, ascending, background left out."""
    return tuple(int(value) for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)) if value > 0)


def write_label_map(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write a palette PNG with the DAVIS colours; the old file or the new one is there, whenever interrupted.

    labels: uint8 (height, width). Raises ContractError for another shape or dtype.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise ContractError(
            explain(
                "label map",
                expected="uint8 (height, width)",
                got=f"{labels.dtype} {labels.shape}",
                do="write one id a pixel",
            )
        )
    pillow = import_media_library("PIL.Image", purpose="writing masks")
    image = pillow.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    file = io.BytesIO()
    image.save(file, format="PNG")
    replace_file(path, file.getvalue())
