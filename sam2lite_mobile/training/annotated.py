"""What an annotated video and an annotated still are, and which videos are never trained on."""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.training.image_files import ImageFile

DAVIS_2016_VALIDATION = frozenset(
    "blackswan bmx-trees breakdance camel car-roundabout car-shadow cows dance-twirl dog drift-chicane drift-straight "
    "goat horsejump-high kite-surf libby motocross-jump paragliding-launch parkour scooter-black soapbox".split()
)
"""The 20 validation sequences of DAVIS-2016: dev and hold-out split together. Never trained on, under any folder."""

SHARED_SOURCE_VIDEOS = frozenset(("drift-turn", "motocross-bumps"))
"""DAVIS-2016 training sequences cut from the same videos as validation sequences (drift-chicane, motocross-jump)."""

DERIVED_TRACKS = frozenset(("camvid-objects",))
"""Video data sets whose tracks end where objects merge or split: an empty mask there does not mean out of view."""


@dataclass(frozen=True)
class Sequence:
    """An annotated video: its frames and masks in time order, equally many."""

    dataset: str
    name: str
    frames: tuple[ImageFile, ...]
    masks: tuple[ImageFile, ...]


@dataclass(frozen=True)
class Still:
    """An image with one or more label maps (alternative annotations); `parts`: ids are parts of one object."""

    dataset: str
    name: str
    image: ImageFile
    masks: tuple[ImageFile, ...]
    parts: bool


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
