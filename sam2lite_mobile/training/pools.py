"""Draws videos, stills and objects from a data folder or a pack, by weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.training.annotated import Sequence, Still
from sam2lite_mobile.training.clip_settings import Bytes
from sam2lite_mobile.training.image_files import ImageCache
from sam2lite_mobile.training.motion import Generator
from sam2lite_mobile.training.sources import find_sequences, find_stills, still_weight, video_weight

MIN_OBJECT_PX = 150
"""Smaller objects are not picked: their outline is mostly annotation noise."""
MAX_OBJECT_SHARE = 0.75
PART_SHARE = 0.25
"""Where ids are parts of one object, this share of picks is a part, the others are the whole."""


@dataclass(frozen=True)
class Instance:
    """An object of a still: pixels (H, W, 3) uint8 RGB, mask (H, W) uint8 0 / 255, and all labels of the image."""

    still: Still
    pixels: Bytes
    labels: Bytes
    mask: Bytes


class VideoPool:
    """The training sequences, drawn by the weight of their data set."""

    def __init__(self, data_root: Path, cache: ImageCache, *, hold_out: tuple[str, ...]) -> None:
        sets = find_sequences(data_root, hold_out=hold_out)
        self._sets = [sets[name] for name in sorted(sets)]
        self._shares = _shares([video_weight(name) for name in sorted(sets)])
        self._cache = cache

    def __len__(self) -> int:
        return sum(len(sequences) for sequences in self._sets)

    def names(self) -> list[str]:
        """`<data set>/<sequence>` of every sequence that can be drawn."""
        return [f"{sequence.dataset}/{sequence.name}" for sequences in self._sets for sequence in sequences]

    def draw(self, rng: Generator) -> Sequence:
        """A random sequence: a data set by weight, then a sequence of it."""
        sequences = self._sets[int(rng.choice(len(self._sets), p=self._shares))]
        return sequences[int(rng.integers(len(sequences)))]

    def read(self, sequence: Sequence, index: int) -> tuple[Bytes, Bytes]:
        """Pixels and labels of one frame of `sequence`."""
        return self._cache.read(sequence.frames[index], sequence.masks[index])


class StillPool:
    """The training stills, drawn by the weight of their data set."""

    def __init__(self, data_root: Path, cache: ImageCache) -> None:
        sets = find_stills(data_root)
        self._names = sorted(sets)
        self._sets = sets
        self._shares = _shares([still_weight(name) for name in self._names])
        self._cache = cache

    def __len__(self) -> int:
        return sum(len(stills) for stills in self._sets.values())

    def draw(self, rng: Generator, *, dataset: str | None = None) -> Still:
        """A random still: of `dataset`, or of a data set drawn by weight."""
        name = self._names[int(rng.choice(len(self._names), p=self._shares))] if dataset is None else dataset
        stills = self._sets[name]
        return stills[int(rng.integers(len(stills)))]

    def read(self, rng: Generator, still: Still) -> tuple[Bytes, Bytes]:
        """Pixels and one of the label maps of `still`."""
        return self._cache.read(still.image, still.masks[int(rng.integers(len(still.masks)))])

    def instance(self, rng: Generator, *, whole: bool, dataset: str | None = None) -> Instance | None:
        """A random object of a random still, or None where the still has none that fits.

        `whole`: only an object that the image's border does not cut, so that it can be pasted elsewhere.
        """
        still = self.draw(rng, dataset=dataset)
        pixels, labels = self.read(rng, still)
        mask = pick_object(rng, labels, parts=still.parts)
        if mask is None or (whole and cut_by_border(mask)):
            return None
        return Instance(still, pixels, labels, mask)

    def sibling(self, rng: Generator, instance: Instance) -> Instance | None:
        """Another object of the same image, not cut by its border; None where there is none."""
        if instance.still.parts:
            return None
        others = np.where(instance.mask > 0, 0, instance.labels).astype(np.uint8)
        mask = pick_object(rng, others, parts=False)
        if mask is None or cut_by_border(mask):
            return None
        return Instance(instance.still, instance.pixels, instance.labels, mask)


def pick_object(rng: Generator, labels: Bytes, *, parts: bool) -> Bytes | None:
    """Mask (H, W) uint8 0 / 255 of a random object in a label map (H, W), or None where none has a fitting area."""
    if parts and rng.random() >= PART_SHARE:
        mask = np.where(labels > 0, np.uint8(255), np.uint8(0))
        return mask if MIN_OBJECT_PX <= np.count_nonzero(mask) <= MAX_OBJECT_SHARE * labels.size else None
    areas = np.bincount(labels.ravel(), minlength=256)
    areas[0] = 0
    fitting = np.flatnonzero((areas >= MIN_OBJECT_PX) & (areas <= MAX_OBJECT_SHARE * labels.size))
    if fitting.size == 0:
        return None
    # Large objects are drawn more often than small ones, but less than in proportion to their area.
    picked = fitting[int(rng.choice(fitting.size, p=_shares(list(np.sqrt(areas[fitting])))))]
    return np.where(labels == picked, np.uint8(255), np.uint8(0))


def cut_by_border(mask: Bytes) -> bool:
    """Whether more of the mask lies along the image's border than an object that merely touches it would have."""
    along = sum(int(np.count_nonzero(edge)) for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return along > 0.1 * float(np.sqrt(np.count_nonzero(mask)))


def require(pool: VideoPool | StillPool, *, kind: str, data_root: Path) -> None:
    """Raise DataError if there is nothing to draw."""
    if len(pool) == 0:
        raise DataError(
            explain(
                f"training {kind}",
                expected=f"data sets in {data_root}",
                got="none",
                do="set SAM2LITE_DATA to the data folder, or set the share of this kind to 0",
            )
        )


def _shares(weights: list[float]) -> list[float]:
    total = float(sum(weights))
    return [float(weight) / total for weight in weights]
