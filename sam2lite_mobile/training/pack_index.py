"""The index of a pack: which image and mask lies where in which shard; read, checked and turned into training data.

A pack is a folder with `pack.json` and shards in WebDataset format (uncompressed tar files in which files of one
sample share the name up to the first dot). A sample is a still or some consecutive frames of a video. The index gives
the place of every file, so that any frame can be read without going through a shard.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.json_file import NOT_JSON
from sam2lite_mobile.training.annotated import Sequence, Still, refuse_validation_sequence
from sam2lite_mobile.training.image_files import MAX_FILE_BYTES, PackedFile

INDEX_NAME = "pack.json"
MAX_INDEX_BYTES = 512 * 2**20

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**48)]
Place = tuple[Count, Annotated[int, msgspec.Meta(ge=1, le=MAX_FILE_BYTES)]]
"""Offset in the shard and number of bytes of a file."""


class Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tar file of the pack."""

    name: Annotated[str, msgspec.Meta(pattern=r"\Ashard-[0-9]{6}\.tar\Z")]
    bytes: Count
    sha256: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class PackedFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An image and its label maps: name in the source data set, and places in the sample's shard."""

    name: Name
    image: Place
    masks: Annotated[tuple[Place, ...], msgspec.Meta(min_length=1, max_length=64)]


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A still (one frame), or consecutive frames of a video, whose other samples come before and after it."""

    key: Name
    kind: Literal["video", "still"]
    dataset: Name
    name: Name
    shard: Count
    frames: Annotated[tuple[PackedFrame, ...], msgspec.Meta(min_length=1, max_length=4096)]
    parts: bool = False


class Skipped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frame, or (frame None) a whole video or still, that was left out because it is broken."""

    dataset: str
    name: str
    frame: str | None
    reason: str


class PackIndex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Content of `pack.json`. `held_out`: names that were left out on purpose."""

    format: Literal["sam2lite-pack"]
    version: Literal[1]
    short_side: int
    quality: int
    shards: tuple[Shard, ...]
    samples: tuple[Sample, ...]
    frame_count: Count
    held_out: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def is_pack(root: Path) -> bool:
    """Whether a folder is a pack."""
    return (root / INDEX_NAME).is_file()


def read_index(root: Path) -> PackIndex:
    """The index of a pack, checked: every place lies within a shard, every shard in the folder, at its full size.

    Raises DataError for an index or a shard that is not as written, and for a validation sequence in it.
    """
    path = root / INDEX_NAME
    try:
        with path.open("rb") as file:
            data = file.read(MAX_INDEX_BYTES + 1)
        if len(data) > MAX_INDEX_BYTES:
            raise _refused(path, expected=f"at most {MAX_INDEX_BYTES} bytes", got="a larger file")
        index = msgspec.json.decode(data, type=PackIndex)
    except OSError as error:
        raise _refused(path, expected="a file that can be read", got=error.strerror) from error
    except NOT_JSON as error:
        raise _refused(path, expected="the index of a pack, version 1", got=str(error)) from error
    for shard in index.shards:
        _check_shard(root, shard)
    for sample in index.samples:
        if sample.kind == "video":
            refuse_validation_sequence(sample.name)
        if sample.shard >= len(index.shards):
            raise _refused(path, expected=f"{len(index.shards)} shards", got=f"number {sample.shard} in {sample.key}")
        end = index.shards[sample.shard].bytes
        places = [place for frame in sample.frames for place in (frame.image, *frame.masks)]
        if any(offset + size > end for offset, size in places):
            raise _refused(path, expected="files inside their shard", got=f"one beyond its end in {sample.key}")
    counted = sum(len(sample.frames) for sample in index.samples)
    if counted != index.frame_count:
        raise _refused(path, expected=f"{index.frame_count} frames", got=counted)
    return index


def check_shards(root: Path, index: PackIndex) -> None:
    """Raise DataError unless the content of every shard has the hash that the index gives."""
    for shard in index.shards:
        got = sha256_of(root / shard.name)
        if got != shard.sha256:
            raise _refused(root / shard.name, expected=f"sha256 {shard.sha256}", got=got)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _refused(path, expected="a file that can be read", got=error.strerror) from error


def packed_sequences(root: Path, index: PackIndex) -> list[Sequence]:
    """The videos of a pack in its order, each put together from its samples. Raises DataError for a single frame."""
    frames: dict[tuple[str, str], list[tuple[PackedFile, PackedFile]]] = {}
    for sample in index.samples:
        if sample.kind == "video":
            archive = root / index.shards[sample.shard].name
            pairs = [
                (_packed(archive, frame.image, frame.name), _packed(archive, frame.masks[0], frame.name))
                for frame in sample.frames
            ]
            frames.setdefault((sample.dataset, sample.name), []).extend(pairs)
    for (dataset, name), pairs in frames.items():
        if len(pairs) < 2:
            raise _refused(root / INDEX_NAME, expected="two frames or more a video", got=f"one in {dataset}/{name}")
    return [
        Sequence(dataset, name, tuple(image for image, _ in pairs), tuple(mask for _, mask in pairs))
        for (dataset, name), pairs in frames.items()
    ]


def packed_stills(root: Path, index: PackIndex) -> list[Still]:
    """The stills of a pack, in its order."""
    stills = []
    for sample in index.samples:
        if sample.kind == "still":
            archive = root / index.shards[sample.shard].name
            for frame in sample.frames:
                masks = tuple(_packed(archive, place, frame.name) for place in frame.masks)
                image = _packed(archive, frame.image, frame.name)
                stills.append(Still(sample.dataset, sample.name, image, masks, sample.parts))
    return stills


def _check_shard(root: Path, shard: Shard) -> None:
    """The name has no separator; a link could still lead elsewhere."""
    path = root / shard.name
    if path.is_symlink() or not path.is_file():
        raise _refused(path, expected="a file in the folder of the pack", got="a link" if path.is_symlink() else "none")
    size = path.stat().st_size
    if size != shard.bytes:
        raise _refused(path, expected=f"{shard.bytes} bytes", got=size)


def _packed(archive: Path, place: tuple[int, int], name: str) -> PackedFile:
    return PackedFile(archive, place[0], place[1], name)


def _refused(path: Path, *, expected: object, got: object) -> DataError:
    return DataError(explain(f"pack {path}", expected=expected, got=got, do="copy or write the pack again"))
