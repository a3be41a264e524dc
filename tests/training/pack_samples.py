"""A small data folder for packs, and one call that packs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sam2lite_mobile.training.pack_index import PackIndex
from sam2lite_mobile.training.pack_items import PictureSettings, find_items
from sam2lite_mobile.training.pack_writer import PackLimits, write_pack
from tests.training.synthetic_data import GREEN, Bytes, disk, paint, write_data, write_pair, write_still

FRAMES = {"roller": 12, "jumper": 4}
"""Frames of the sequences by name."""


def write_pack_source(root: Path) -> Path:
    """Two sequences and three stills, two of which have a coarse mask as well; gives back `root`."""
    write_data(root)
    labels = disk(40, 40, x=20, y=20, radius=8)
    write_still(root, "greens", "alternatives", labels=labels, colours=(GREEN,))
    write_pair(root / "unused.jpg", root / "train/images/greens/masks_coarse/a.png", *picture_of(96, 128))
    write_pair(root / "unused.jpg", root / "train/images/greens/masks_coarse/alternatives.png", *picture_of(40, 40))
    return root


def picture_of(height: int, width: int) -> tuple[Bytes, Bytes]:
    """Pixels and labels of a disk whose id is 2."""
    labels = 2 * disk(height, width, x=18, y=16, radius=9)
    return paint(labels, (GREEN, GREEN)), labels


def pack_data(
    data: Path,
    out: Path,
    *,
    hold_out: tuple[str, ...] = (),
    short_side: int = 288,
    limits: PackLimits | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> PackIndex:
    """Pack everything that is found in a data folder."""
    items, left_out, bare = find_items(data, None, hold_out=hold_out)
    return write_pack(
        items,
        out,
        data_root=data,
        pictures=PictureSettings(short_side),
        limits=limits or PackLimits(),
        held_out=left_out,
        skipped=bare,
        stop=stop,
    )
