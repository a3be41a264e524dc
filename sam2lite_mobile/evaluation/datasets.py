"""Data sets in DAVIS layout: where frames and annotations lie, which sequences a split has, and the sample clip."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.image_folder import natural_key
from sam2lite_mobile.media.label_maps import read_label_map
from sam2lite_mobile.media.limits import check_file
from sam2lite_mobile.media.pictures import PICTURE_SUFFIXES, read_picture

REPOSITORY = Path(__file__).resolve().parents[2]
DATA_VARIABLE = "SAM2LITE_DATA"
SEQUENCE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Sequence names become folder names: no separators, no leading dot."""
SPLIT_FILE_BYTES = 2**20


@dataclass(frozen=True)
class SequenceFrame:
    """One frame of a sequence: its name ("00012") and the files of its picture and annotation."""

    name: str
    image: Path
    annotation: Path


class DavisLayout:
    """A folder with JPEGImages/[480p/]SEQUENCE/*.jpg and Annotations/[480p/]SEQUENCE/*.png.

    Raises DataError if the folder has no such content.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = _level(root / "JPEGImages")
        self.annotations = _level(root / "Annotations")

    def sequence_names(self) -> tuple[str, ...]:
        """Every sequence that has frames, in natural order."""
        names = (folder.name for folder in self.images.iterdir() if folder.is_dir() and folder.name[0] != ".")
        return tuple(sorted(names, key=natural_key))

    def split(self, split: str) -> tuple[str, ...]:
        """The sequences of a split: "all", a file that lists them, or the name of a list in splits/ or ImageSets/.

        A list has one sequence a line; blank lines and lines that start with # are passed over. Raises DataError if
        there is no such split, or if it is empty, names a sequence twice or one that is not there.
        """
        if split == "all":
            return self.sequence_names()
        path = self._split_file(split)
        check_file(path, max_bytes=SPLIT_FILE_BYTES)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise DataError(explain(str(path), expected="a text file", got=str(error), do="check the path")) from error
        names = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
        return self.checked(names, where=str(path))

    def checked(self, names: tuple[str, ...], *, where: str) -> tuple[str, ...]:
        """`names` as they are. Raises DataError if there is none, one is twice, malformed or not in this data set."""
        if not names or len(set(names)) != len(names):
            raise DataError(
                explain(where, expected="sequences, each once", got=", ".join(names) or "none", do="correct the list")
            )
        for name in names:
            if not SEQUENCE_NAME.fullmatch(name) or not (self.images / name).is_dir():
                raise DataError(
                    explain(
                        where,
                        expected=f"sequences of {self.images}",
                        got=repr(name),
                        do="use another split, or add the sequence",
                    )
                )
        return names

    def frames(self, sequence: str) -> tuple[SequenceFrame, ...]:
        """The frames of a sequence in natural order, each with its annotation.

        Raises DataError if there is no frame, or a frame has no annotation file.
        """
        self.checked((sequence,), where="sequence")
        pictures = [path for path in (self.images / sequence).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
        frames = tuple(
            SequenceFrame(path.stem, path, self.annotations / sequence / f"{path.stem}.png")
            for path in sorted(pictures, key=lambda path: natural_key(path.name))
        )
        if not frames:
            raise DataError(explain(sequence, expected="JPEG or PNG frames", got="none", do="check the data set"))
        for frame in frames:
            if not frame.annotation.is_file():
                raise DataError(
                    explain(
                        f"{sequence} frame {frame.name}",
                        expected=str(frame.annotation),
                        got="no such file",
                        do="annotate every frame, or leave the sequence out",
                    )
                )
        return frames

    def _split_file(self, split: str) -> Path:
        candidates = [Path(split)] if split.endswith(".txt") or os.sep in split else []
        if SEQUENCE_NAME.fullmatch(split):
            candidates += [
                self.root / folder / f"{split.removesuffix('.txt')}.txt"
                for folder in ("splits", "ImageSets/480p", "ImageSets/2017", "ImageSets/2016", "ImageSets")
            ]
        for path in candidates:
            if path.is_file():
                return path
        raise DataError(
            explain(
                f"split {split!r}",
                expected="'all', a file, or one of " + (", ".join(sorted(self._split_names())) or "no lists here"),
                got="no such list",
                do="name one of these",
            )
        )

    def _split_names(self) -> Iterator[str]:
        for folder in ("splits", "ImageSets"):
            yield from (path.stem for path in (self.root / folder).rglob("*.txt"))


def read_frame(path: Path) -> NDArray[np.uint8]:
    """A frame as uint8 (height, width, RGB). Raises DataError if it cannot be read."""
    return read_picture(path)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """An annotation as uint8 (height, width) of object ids; a black and white one has the single id 1.

    Raises DataError if it cannot be read.
    """
    return read_label_map(path)


def data_root() -> Path | None:
    """The data folder: $SAM2LITE_DATA, or ../shared/data beside the repository; None if there is none."""
    named = os.environ.get(DATA_VARIABLE)
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def training_data(given: Path | None) -> Path:
    """The folder with training data that was given, or the default one. Raises DataError if it does not exist."""
    root = given or data_root()
    if root is None or not root.is_dir():
        got = "none" if root is None else f"no such folder: {root}"
        raise DataError(
            explain("training data", expected="a folder with train/", got=got, do=f"set {DATA_VARIABLE} or pass --data")
        )
    return root


def sample_clip() -> DavisLayout:
    """The clip in assets/ that gates run on where nothing else is at hand. Raises DataError if it is missing."""
    return DavisLayout(REPOSITORY / "assets" / "sample_clip")


def _level(folder: Path) -> Path:
    """The folder that holds the sequences: below 480p where that level exists."""
    level = folder / "480p" if (folder / "480p").is_dir() else folder
    if not level.is_dir():
        raise DataError(
            explain(str(folder), expected="a folder of sequences", got="no such folder", do="name a DAVIS-style root")
        )
    return level
