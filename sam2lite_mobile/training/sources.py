"""Finds the annotated videos and stills of a data folder or of a pack, and keeps validation sequences out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.training.annotated import (
    DAVIS_2016_VALIDATION,
    DERIVED_TRACKS,
    SHARED_SOURCE_VIDEOS,
    Sequence,
    Still,
    refuse_validation_sequence,
)
from sam2lite_mobile.training.image_files import ImageCache, read_image, read_labels, read_pair, shared_images
from sam2lite_mobile.training.layouts import Layout, detect_layout, sequence_folders, still_files
from sam2lite_mobile.training.pack_index import is_pack, packed_sequences, packed_stills, read_index

__all__ = [
    "DAVIS_2016_VALIDATION",
    "DERIVED_TRACKS",
    "SHARED_SOURCE_VIDEOS",
    "ImageCache",
    "Sequence",
    "Still",
    "check_held_out_names",
    "find_sequence",
    "find_sequences",
    "find_stills",
    "read_image",
    "read_labels",
    "read_pair",
    "refuse_validation_sequence",
    "shared_images",
    "still_weight",
    "video_weight",
]

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


def find_sequences(data_root: Path, *, hold_out: Iterable[str] = ()) -> dict[str, list[Sequence]]:
    """Training sequences by data set, without `hold_out` and `SHARED_SOURCE_VIDEOS`.

    data_root: a pack, or a folder in our own layout, that of DAVIS or of YouTube-VOS. Raises DataError for a
    validation sequence among them, a name in `hold_out` that does not exist, or frames and masks that do not match.
    """
    held_out = set(hold_out)
    left_out = held_out | SHARED_SOURCE_VIDEOS
    found: dict[str, list[Sequence]] = {}
    if is_pack(data_root):
        index = read_index(data_root)
        sequences = packed_sequences(data_root, index)
        check_held_out_names(held_out, {each.name for each in sequences} | set(index.held_out), where=data_root)
        for sequence in sequences:
            if sequence.name not in left_out:
                found.setdefault(sequence.dataset, []).append(sequence)
        return found
    folders = sequence_folders(data_root, _layout(data_root))
    for folder in folders:
        if folder.name not in left_out:
            found.setdefault(folder.dataset, []).append(folder.sequence())
    check_held_out_names(held_out, {folder.name for folder in folders}, where=data_root)
    return found


def find_sequence(data_root: Path, name: str) -> Sequence:
    """The training sequence called `name`, held out or not. Raises DataError where there is none."""
    refuse_validation_sequence(name)
    if is_pack(data_root):
        for sequence in packed_sequences(data_root, read_index(data_root)):
            if sequence.name == name:
                return sequence
    else:
        for folder in sequence_folders(data_root, _layout(data_root)):
            if folder.name == name:
                return folder.sequence()
    raise DataError(explain("training sequence", expected="an existing name", got=name, do="check the data folder"))


def find_stills(data_root: Path) -> dict[str, list[Still]]:
    """Stills with masks by data set, of a pack or a folder. Raises DataError where an image has no mask."""
    if is_pack(data_root):
        stills = packed_stills(data_root, read_index(data_root))
    else:
        stills = [files.still() for files in still_files(data_root, _layout(data_root))]
    found: dict[str, list[Still]] = {}
    for still in stills:
        found.setdefault(still.dataset, []).append(still)
    return found


def check_held_out_names(held_out: Iterable[str], known: Iterable[str], *, where: Path) -> None:
    """Raise DataError for a held-out name that no sequence has."""
    unknown = set(held_out) - set(known)
    if unknown:
        raise DataError(
            explain(
                "held-out sequences",
                expected=f"names of sequences in {where}",
                got=", ".join(sorted(unknown)),
                do="correct the names: a misspelt one would be trained on",
            )
        )


def video_weight(dataset: str) -> float:
    """Share of a video data set, relative to the other ones."""
    return _VIDEO_WEIGHTS.get(dataset, _OTHER_VIDEO_WEIGHT)


def still_weight(dataset: str) -> float:
    """Share of a data set of stills, relative to the other ones."""
    return _STILL_WEIGHTS.get(dataset, _OTHER_STILL_WEIGHT)


def _layout(data_root: Path) -> Layout:
    """The layout of a folder; our own where nothing is there yet, so that the missing data is named."""
    return detect_layout(data_root) or Layout.OURS
