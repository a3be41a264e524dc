"""What goes into a pack: videos and stills one by one, each frame shrunk where it is large, else byte for byte."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from PIL import Image

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.media.palette import davis_palette
from sam2lite_mobile.training.clip_settings import Bytes
from sam2lite_mobile.training.image_files import read_bytes, read_pair, whole_file_format
from sam2lite_mobile.training.layouts import Layout, SequenceFolder, StillFiles, detect_layout
from sam2lite_mobile.training.layouts import sequence_folders as find_folders
from sam2lite_mobile.training.layouts import still_files as find_still_files
from sam2lite_mobile.training.pack_index import Skipped, is_pack
from sam2lite_mobile.training.sa_v import SavVideo, find_videos
from sam2lite_mobile.training.sources import check_held_out_names


@dataclass(frozen=True)
class PictureSettings:
    """Larger pictures are shrunk to `short_side` (pixels) and saved as JPEG of `quality`; others stay as they are."""

    short_side: int = 288
    quality: int = 85

    def __post_init__(self) -> None:
        """Raise ContractError for a number that makes no picture."""
        for name, low, high in (("short_side", 32, 4096), ("quality", 1, 100)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ContractError(explain(name, expected=f"{low} to {high}", got=value, do="correct it"))


@dataclass(frozen=True)
class EncodedFrame:
    """A frame as it is stored: its name, a JPEG file, PNG files of its label maps, the ids in the first of them."""

    name: str
    image: bytes
    masks: tuple[bytes, ...]
    ids: tuple[int, ...]


class PackItem(Protocol):
    """A video or a still."""

    @property
    def dataset(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> bool: ...

    @property
    def is_video(self) -> bool: ...

    def frames(self, settings: PictureSettings) -> Iterator[EncodedFrame | Skipped]:
        """Its frames in time order, the broken ones with the reason. Raises DataError where it is broken as a whole."""
        ...


@dataclass(frozen=True)
class FolderVideo:
    """A video whose frames are files."""

    folder: SequenceFolder
    parts: bool = False
    is_video: bool = True

    @property
    def dataset(self) -> str:
        return self.folder.dataset

    @property
    def name(self) -> str:
        return self.folder.name

    def frames(self, settings: PictureSettings) -> Iterator[EncodedFrame | Skipped]:
        sequence = self.folder.sequence()
        first_size: tuple[int, int] | None = None
        for image, mask in zip(sequence.frames, sequence.masks, strict=True):
            try:
                frame, size = encode_files(Path(str(image)), (Path(str(mask)),), settings)
                if first_size not in (None, size):
                    raise DataError(
                        explain(f"size of {image}", expected=first_size, got=size, do="cut the video where it changes")
                    )
            except DataError as error:
                yield Skipped(self.dataset, self.name, image.stem, str(error))
                continue
            first_size = size
            yield frame


@dataclass(frozen=True)
class FolderStill:
    """A still with its label maps."""

    files: StillFiles
    is_video: bool = False

    @property
    def dataset(self) -> str:
        return self.files.dataset

    @property
    def name(self) -> str:
        return self.files.image.stem

    @property
    def parts(self) -> bool:
        return self.files.parts

    def frames(self, settings: PictureSettings) -> Iterator[EncodedFrame | Skipped]:
        self.files.still()
        yield encode_files(self.files.image, self.files.masks, settings)[0]


@dataclass(frozen=True)
class DecodedVideo:
    """A video of SA-V, which is decoded on the way."""

    video: SavVideo
    dataset: str = Layout.SA_V.value
    parts: bool = False
    is_video: bool = True

    @property
    def name(self) -> str:
        return self.video.name

    def frames(self, settings: PictureSettings) -> Iterator[EncodedFrame | Skipped]:
        for name, pixels, labels in self.video.frames():
            yield encode_pixels(name, pixels, (labels,), settings)


def find_items(
    root: Path, layout: Layout | None, *, hold_out: tuple[str, ...] = (), datasets: tuple[str, ...] = ()
) -> tuple[list[PackItem], list[str], list[Skipped]]:
    """Videos, then stills, of a data folder, by data set and name; the names left out; videos without annotation.

    layout: None finds it out. datasets: only these data sets, if any are named. Left out are videos of other ones and
    `hold_out`. Videos that share their source with a validation video are packed: they serve as held-out videos, and
    `find_sequences` keeps them out of training, as it does in a folder.

    Raises DataError for a validation sequence among the data, an unknown name in `hold_out` or `datasets`, or nothing
    to pack.
    """
    layout = layout or detect_layout(root)
    if layout is None or is_pack(root):
        got = "a pack" if is_pack(root) else "none of them"
        raise DataError(
            explain(f"data {root}", expected=f"a folder in layout {', '.join(Layout)}", got=got, do="name its layout")
        )
    videos: list[PackItem]
    skipped: list[Skipped] = []
    if layout is Layout.SA_V:
        found, bare = find_videos(root)
        videos = [DecodedVideo(video) for video in found]
        skipped = [Skipped(layout.value, video.stem, None, "no annotation beside the video") for video in bare]
    else:
        videos = [FolderVideo(folder) for folder in find_folders(root, layout)]
    stills: list[PackItem] = [FolderStill(files) for files in find_still_files(root, layout)]
    names = {video.name for video in videos}
    check_held_out_names(hold_out, names, where=root)
    items = [video for video in videos if video.name not in hold_out] + stills
    known = sorted({item.dataset for item in items})
    for dataset in datasets:
        if dataset not in known:
            raise DataError(explain("data set", expected=", ".join(known), got=dataset, do="name one of these"))
    items = [item for item in items if not datasets or item.dataset in datasets]
    if not items:
        raise DataError(
            explain(f"data {root}", expected=f"videos or stills in layout {layout}", got="none", do="check the folder")
        )
    return items, sorted(names - {item.name for item in items if item.is_video}), skipped


def encode_files(
    image: Path, masks: tuple[Path, ...], settings: PictureSettings
) -> tuple[EncodedFrame, tuple[int, int]]:
    """A frame from files, and its size (height, width) in them. Raises DataError for a broken or cut file.

    A JPEG with PNG label maps that needs no shrinking is taken byte for byte.
    """
    content = [read_bytes(path) for path in (image, *masks)]
    kinds = [whole_file_format(path, data) for path, data in zip((image, *masks), content, strict=True)]
    pairs = [read_pair(image, mask) for mask in masks]
    pixels, labels = pairs[0]
    height, width = labels.shape
    if min(height, width) <= settings.short_side and kinds == ["JPEG", *("PNG" for _ in masks)]:
        frame = EncodedFrame(image.stem, content[0], tuple(content[1:]), _ids(labels))
    else:
        frame = encode_pixels(image.stem, pixels, tuple(labels for _, labels in pairs), settings)
    return frame, (height, width)


def encode_pixels(name: str, pixels: Bytes, label_maps: tuple[Bytes, ...], settings: PictureSettings) -> EncodedFrame:
    """A frame from pixels (H, W, 3) uint8 RGB and labels (H, W) uint8: shrunk where it is large, then encoded.

    Pixels are averaged over areas; labels are those of the nearest pixel, so that no id arises that was not there.
    """
    height, width = pixels.shape[:2]
    factor = settings.short_side / min(height, width)
    if factor < 1:
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        label_maps = tuple(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT) for labels in label_maps)
    # Optimised tables and progressive scans: the same pixels in about a tenth less.
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        settings.quality,
        cv2.IMWRITE_JPEG_OPTIMIZE,
        1,
        cv2.IMWRITE_JPEG_PROGRESSIVE,
        1,
    ]
    done, jpeg = cv2.imencode(".jpg", pixels[..., ::-1], options)
    if not done:
        raise DataError(
            explain(f"frame {name}", expected="pixels that JPEG can hold", got=pixels.shape, do="leave it out")
        )
    return EncodedFrame(name, jpeg.tobytes(), tuple(_palette_png(labels) for labels in label_maps), _ids(label_maps[0]))


def _palette_png(labels: Bytes) -> bytes:
    """A palette PNG of labels. The palette ends at the highest id: with 16 colours or fewer, a pixel takes 4 bits."""
    picture = Image.fromarray(labels)
    picture.putpalette(davis_palette()[: int(labels.max()) + 1].tobytes())
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()


def _ids(labels: Bytes) -> tuple[int, ...]:
    return tuple(int(value) for value in np.unique(labels) if value > 0)
