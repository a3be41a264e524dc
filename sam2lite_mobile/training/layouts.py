"""Finds annotated videos and stills in the folders of our own layout, of DAVIS and of YouTube-VOS.

Masks are palette or grey PNG, pixel value = object id, 0 = background.

- `ours`: `train/video/<set>/JPEGImages/<sequence>/<frame>.jpg`, `train/video/<set>/Annotations/<sequence>/<frame>.png`,
  `train/images/<set>/images/<name>.jpg`, `train/images/<set>/masks*/<name>.png`.
- `davis` (2016, 2017): `JPEGImages/480p/<sequence>/`, `Annotations/480p/<sequence>/`, `ImageSets/<year>/train.txt`.
- `youtube-vos`: `train/JPEGImages/<id>/`, `train/Annotations/<id>/`; every fifth frame is annotated.
- `sa-v`: videos with JSON beside them, see `sa_v.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.training.annotated import Sequence, Still, refuse_validation_sequence

DAVIS_RESOLUTIONS = ("480p", "Full-Resolution")
DAVIS_YEARS = ("2017", "2016")
"""Looked for in this order: the list of 2017 has the sequences of 2016 and more."""
MAX_LIST_BYTES = 2**20

_PART_SETS = frozenset(("car-parts", "ccp-person", "ccp-person-2", "faces"))
"""Ids are parts of one object here: all of them together are the object."""


class Layout(StrEnum):
    """How a data folder is arranged."""

    OURS = "ours"
    DAVIS = "davis"
    YOUTUBE_VOS = "youtube-vos"
    SA_V = "sa-v"


@dataclass(frozen=True)
class SequenceFolder:
    """Where the frames and masks of a video lie. `complete`: every frame must have a mask; else those without go."""

    dataset: str
    name: str
    frames: Path
    masks: Path
    complete: bool

    def sequence(self) -> Sequence:
        """The annotated frames, in time order. Raises DataError for fewer than two, or a mask that is missing."""
        frames = sorted(self.frames.glob("*.jpg"))
        masked = {mask.stem: mask for mask in self.masks.glob("*.png") if mask.is_file()}
        missing = [frame for frame in frames if frame.stem not in masked]
        annotated = [frame for frame in frames if frame.stem in masked]
        if len(annotated) < 2 or (self.complete and missing):
            raise DataError(
                explain(
                    f"sequence {self.dataset}/{self.name}",
                    expected="two frames or more with a mask each",
                    got=f"{len(frames)} frames, {len(missing)} without a mask",
                    do="complete the data set",
                )
            )
        return Sequence(self.dataset, self.name, tuple(annotated), tuple(masked[frame.stem] for frame in annotated))


@dataclass(frozen=True)
class StillFiles:
    """Where an image and its alternative label maps lie."""

    dataset: str
    image: Path
    masks: tuple[Path, ...]

    @property
    def parts(self) -> bool:
        """Whether ids are parts of one object."""
        return self.dataset in _PART_SETS

    def still(self) -> Still:
        """The still. Raises DataError for a label map that is missing."""
        if not self.masks or not all(mask.is_file() for mask in self.masks):
            raise DataError(
                explain(f"mask of {self.image}", expected="a PNG of the same name", got="none", do="add it")
            )
        return Still(self.dataset, self.image.stem, self.image, self.masks, self.parts)


def detect_layout(root: Path) -> Layout | None:
    """The layout of a data folder, or None where it looks like none of them."""
    train = root / "train"
    if (train / "video").is_dir() or (train / "images").is_dir():
        return Layout.OURS
    if any((root / "JPEGImages" / resolution).is_dir() for resolution in DAVIS_RESOLUTIONS):
        return Layout.DAVIS
    if (train / "JPEGImages").is_dir() and (train / "Annotations").is_dir():
        return Layout.YOUTUBE_VOS
    if (root / "sav_train").is_dir() or any(root.glob("sav_*.mp4")):
        return Layout.SA_V
    return None


def sequence_folders(root: Path, layout: Layout) -> list[SequenceFolder]:
    """The videos of a data folder by data set and name; nothing of them is read yet.

    DAVIS: those of its training list; all where it has no list. Raises DataError for a validation sequence among
    them, for a listed one that is missing, and for SA-V, whose frames are in videos.
    """
    if layout is Layout.OURS:
        found = [
            SequenceFolder(dataset.name, folder.name, folder, dataset / "Annotations" / folder.name, complete=True)
            for dataset in _folders(root / "train" / "video")
            for folder in _folders(dataset / "JPEGImages")
        ]
    elif layout is Layout.DAVIS:
        found = _davis_folders(root)
    elif layout is Layout.YOUTUBE_VOS:
        train = root / "train"
        found = [
            SequenceFolder(layout.value, folder.name, folder, train / "Annotations" / folder.name, complete=False)
            for folder in _folders(train / "JPEGImages")
        ]
    else:
        raise DataError(
            explain(
                f"training data {root}",
                expected="frames and masks as files",
                got="SA-V, whose frames are in videos",
                do="pack it first: sam2lite data pack",
            )
        )
    for each in found:
        refuse_validation_sequence(each.name)
    return found


def still_files(root: Path, layout: Layout) -> list[StillFiles]:
    """The stills of a data folder by data set and name; only our own layout has any."""
    found: list[StillFiles] = []
    for dataset in _folders(root / "train" / "images") if layout is Layout.OURS else ():
        mask_folders = [folder for folder in _folders(dataset) if folder.name.startswith("masks")]
        for image in sorted((dataset / "images").glob("*.jpg")):
            masks = tuple(folder / f"{image.stem}.png" for folder in mask_folders)
            found.append(StillFiles(dataset.name, image, masks))
    return found


def _davis_folders(root: Path) -> list[SequenceFolder]:
    resolution = next((name for name in DAVIS_RESOLUTIONS if (root / "JPEGImages" / name).is_dir()), None)
    if resolution is None:
        return []
    frames, masks = root / "JPEGImages" / resolution, root / "Annotations" / resolution
    listed = _davis_training_names(root)
    names = [folder.name for folder in _folders(frames)] if listed is None else listed
    for name in names:
        if not (frames / name).is_dir():
            raise DataError(
                explain(f"sequence {name}", expected=f"a folder in {frames}", got="none", do="complete the data set")
            )
    return [SequenceFolder(Layout.DAVIS.value, name, frames / name, masks / name, complete=False) for name in names]


def _davis_training_names(root: Path) -> list[str] | None:
    """The names in the training list, sorted; None where there is no list."""
    for year in DAVIS_YEARS:
        path = root / "ImageSets" / year / "train.txt"
        if not path.is_file():
            continue
        with path.open("rb") as file:
            data = file.read(MAX_LIST_BYTES + 1)
        names = sorted(set(data.decode("utf-8", errors="replace").split()))
        strange = [name for name in names if Path(name).name != name or name == ".."]
        if len(data) > MAX_LIST_BYTES or strange:
            got = f"{strange[0]!r}" if strange else "a larger file"
            raise DataError(explain(str(path), expected="names of sequences, at most 1 MiB", got=got, do="correct it"))
        return names
    return None


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
