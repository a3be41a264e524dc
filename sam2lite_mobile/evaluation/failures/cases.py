"""The suite's description: which sequence shows which failure, where its moments are, and its file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.json_file import read_json

SUITE_NAME = "suite.json"
SUITE_BYTES = 2**20
SCHEMA_VERSION = 1
FRAMES_PER_SECOND = 24
"""Rate that times of the suite are meant at: that of DAVIS."""
REFERENCE_SIZE = 256
"""Input size in pixels at which sizes of objects are stated."""

Count = Annotated[int, Meta(ge=0)]


class Kind(StrEnum):
    """What a sequence shows."""

    TINY = "tiny"
    """An object of 10, 16 or 24 px (side of the square of its area, at an input of 256 px) over another video."""
    OCCLUSION = "occlusion"
    """Something as large as the object hides it for more than 2 s; object and camera go on moving."""
    ABSENCE = "absence"
    """The object leaves on one side and comes back on the other more than 2 s later."""
    FAST = "fast"
    """The object moves farther from frame to frame than it is long."""
    CUT = "cut"
    """Camera cuts: to a mirrored close-up, to a scene without the object, and back."""
    LOOKALIKE = "lookalike"
    """A copy of the object passes in front of it."""
    GLASS = "glass"
    """The object is painted at 40 % opacity over another video."""
    REFLECTION = "reflection"
    """Another video is mixed over the whole frame at 40 %, as in a window pane."""


class Case(Struct, frozen=True, forbid_unknown_fields=True):
    """One sequence of the suite.

    source, background: sequences that object and background are from. side_px: side of the square of the object's area
    in frame 0 at an input of 256 px. hidden: first frame of a stretch in which 90 % or more of the object is not to be
    seen, and the first one after it; None without one. returns: frames at which the object is to be found again.
    lookalike: masks of the copy lie in Lookalikes/NAME.
    """

    name: str
    kind: Kind
    source: str
    background: str
    frames: Annotated[int, Meta(ge=3)]
    side_px: Annotated[float, Meta(ge=0)]
    hidden: tuple[Count, Count] | None = None
    returns: list[Count] = []
    lookalike: bool = False


class Suite(Struct, frozen=True, forbid_unknown_fields=True):
    """What `sam2lite failures make` writes beside the frames. data: name of the folder that the frames are from."""

    schema_version: int
    data: str
    seed: Count
    frames_per_second: Annotated[int, Meta(ge=1)]
    cases: Annotated[list[Case], Meta(min_length=1)]


def read_suite(root: Path) -> Suite:
    """The description of a suite's folder. Raises DataError if it is missing, too large or breaks the schema."""
    path = root / SUITE_NAME
    do = "run sam2lite failures make"
    suite = read_json(path, Suite, max_bytes=SUITE_BYTES, expected="a suite of failures", do=do)
    if suite.schema_version != SCHEMA_VERSION:
        raise DataError(
            explain(
                str(path), expected=f"schema version {SCHEMA_VERSION}", got=suite.schema_version, do="make it again"
            )
        )
    return suite
