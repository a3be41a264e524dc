"""Writes a pack: shards in WebDataset format and their index, in a folder that appears whole or not at all.

The same data and settings give the same bytes: the order is that of the data, and tar entries carry no time or user.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from sam2lite_mobile.errors import ContractError, DataError, MissingBackendError, explain
from sam2lite_mobile.media.output_folder import staged_folder
from sam2lite_mobile.training.annotated import refuse_validation_sequence
from sam2lite_mobile.training.pack_index import INDEX_NAME, PackedFrame, PackIndex, Sample, Shard, Skipped, sha256_of
from sam2lite_mobile.training.pack_items import EncodedFrame, PackItem, PictureSettings

try:
    from webdataset import TarWriter
except ImportError as error:
    raise MissingBackendError(
        explain("packs", expected="webdataset", got=str(error), do="pip install 'sam2lite-mobile[train]'")
    ) from error

MEGABYTE = 10**6
FRAMES_PER_SAMPLE = 32
TAR_BLOCK = 512
TAR_RECORD = 20 * TAR_BLOCK
"""A tar file is padded to whole records, after two blocks of zeros that end it."""


class StoppedPackError(Exception):
    """The user asked to stop; nothing was written."""


@dataclass(frozen=True)
class PackLimits:
    """Bytes of one shard (a sample that is larger gets one of its own), and of the pack as a whole if it is limited."""

    shard_bytes: int = 32 * MEGABYTE
    pack_bytes: int | None = None

    def __post_init__(self) -> None:
        """Raise ContractError for a limit that nothing fits in."""
        for name, value in (("shard size", self.shard_bytes), ("pack size", self.pack_bytes)):
            if value is not None and value < 2 * TAR_RECORD:
                raise ContractError(explain(name, expected=f"{2 * TAR_RECORD} bytes or more", got=value, do="raise it"))


def write_pack(
    items: Iterable[PackItem],
    out: Path,
    *,
    data_root: Path,
    pictures: PictureSettings,
    limits: PackLimits,
    held_out: Iterable[str] = (),
    skipped: Iterable[Skipped] = (),
    on_item: Callable[[PackItem], None] = lambda item: None,
    stop: Callable[[], bool] = lambda: False,
) -> PackIndex:
    """Write the pack `out` of items of `data_root` and give back its index.

    `stop` is asked before every item; `on_item` is told after it.

    Broken frames, videos and stills are left out and listed in the index, after `skipped`. Raises DataError for an
    output folder that holds something, a validation sequence, an item that occurs twice, a pack of nothing, or one that
    would be larger than its limit; StoppedPackError where `stop` said so. Nothing is left behind then.
    """
    if out.is_dir() and any(out.iterdir()):
        raise DataError(
            explain(f"output {out}", expected="a new or empty folder", got="files", do="choose another, or remove it")
        )
    try:
        with staged_folder(out, overwrite=False, known_names=frozenset()) as folder:
            writing = _Writing(folder, pictures, limits, data_root, skipped=list(skipped))
            with closing(writing.shards):
                for item in items:
                    if stop():
                        raise StoppedPackError
                    writing.add(item)
                    on_item(item)
                return writing.finish(held_out=tuple(sorted(held_out)))
    except OSError as error:
        raise DataError(
            explain(f"output {out}", expected="room to write", got=error.strerror, do="free some, or choose another")
        ) from error


@dataclass
class _Writing:
    """A pack in the making."""

    folder: Path
    pictures: PictureSettings
    limits: PackLimits
    data_root: Path
    skipped: list[Skipped]
    samples: list[Sample] = field(default_factory=list)
    seen: set[tuple[bool, str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.shards = _Shards(self.folder, self.limits)

    def add(self, item: PackItem) -> None:
        """Write one video or still, as far as it is not broken."""
        if item.is_video:
            refuse_validation_sequence(item.name)
        identity = (item.is_video, item.dataset, item.name)
        if identity in self.seen:
            raise DataError(
                explain(f"{item.dataset}/{item.name}", expected="each name once", got="two of it", do="rename one")
            )
        self.seen.add(identity)
        key = f"{'video' if item.is_video else 'still'}-{len(self.seen):06d}"
        waiting: list[EncodedFrame] = []
        written = 0
        try:
            for frame in item.frames(self.pictures):
                if isinstance(frame, Skipped):
                    self._skip(frame)
                    continue
                waiting.append(frame)
                if len(waiting) == FRAMES_PER_SAMPLE:
                    self._write(item, f"{key}-{written:03d}", waiting)
                    written, waiting = written + 1, []
        except DataError as error:
            self._skip(Skipped(item.dataset, item.name, None, str(error)))
        if waiting and (written or len(waiting) > 1 or not item.is_video):
            self._write(item, f"{key}-{written:03d}", waiting)
        elif waiting:
            self._skip(Skipped(item.dataset, item.name, None, "a single frame that is whole"))

    def finish(self, *, held_out: tuple[str, ...]) -> PackIndex:
        """Close the last shard and write the index."""
        self.shards.close()
        if not self.samples:
            reason = self.skipped[0].reason if self.skipped else "nothing to pack"
            raise DataError(explain("pack", expected="a whole video or still", got=reason, do="repair the data"))
        index = PackIndex(
            "sam2lite-pack",
            1,
            self.pictures.short_side,
            self.pictures.quality,
            tuple(self.shards.finished),
            tuple(self.samples),
            sum(len(sample.frames) for sample in self.samples),
            held_out,
            tuple(self.skipped),
        )
        data = msgspec.json.encode(index)
        self.shards.check_size(len(data), writing=f"after {len(self.samples)} samples")
        with (self.folder / INDEX_NAME).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return index

    def _write(self, item: PackItem, key: str, frames: list[EncodedFrame]) -> None:
        facts = {
            "kind": "video" if item.is_video else "still",
            "dataset": item.dataset,
            "name": item.name,
            "parts": item.parts,
            "frames": [frame.name for frame in frames],
            "ids": [frame.ids for frame in frames],
        }
        files = {"json": msgspec.json.encode(facts)}
        for position, frame in enumerate(frames):
            files[f"{position:03d}.jpg"] = frame.image
            for alternative, mask in enumerate(frame.masks):
                files[f"{position:03d}.{alternative}.png"] = mask
        shard, places = self.shards.write(key, files)
        packed = tuple(
            PackedFrame(
                frame.name,
                places[f"{position:03d}.jpg"],
                tuple(places[f"{position:03d}.{alternative}.png"] for alternative in range(len(frame.masks))),
            )
            for position, frame in enumerate(frames)
        )
        kind: Literal["video", "still"] = "video" if item.is_video else "still"
        self.samples.append(Sample(key, kind, item.dataset, item.name, shard, packed, item.parts))

    def _skip(self, skipped: Skipped) -> None:
        """List what is broken, with paths relative to the data folder: where it lay must not change the pack."""
        reason = skipped.reason.replace(f"{self.data_root}{os.sep}", "")
        self.skipped.append(msgspec.structs.replace(skipped, reason=reason))


class _Shards:
    """The tar files of a pack, filled one after the other."""

    def __init__(self, folder: Path, limits: PackLimits) -> None:
        self._folder, self._limits = folder, limits
        self._number, self._end = 0, 0
        self._writer: TarWriter | None = None
        self.finished: list[Shard] = []

    def write(self, key: str, files: Mapping[str, bytes]) -> tuple[int, dict[str, tuple[int, int]]]:
        """Append a sample; the number of its shard, and offset and size of each of its files in it."""
        needed = sum(_entry_bytes(data) for data in files.values())
        if self._writer is not None and _tar_bytes(self._end + needed) > self._limits.shard_bytes:
            self.close()
        self.check_size(_tar_bytes(self._end + needed), writing=f"at {key}")
        if self._writer is None:
            self._file = self._path().open("wb")
            self._writer = TarWriter(self._file, encoder=False, mtime=0, user="", group="", mode=0o644)
        self._writer.write({"__key__": key, **files})
        places = {}
        for name in sorted(files):  # the order in which the writer stores them
            places[name] = (self._end + TAR_BLOCK, len(files[name]))
            self._end += _entry_bytes(files[name])
        return self._number, places

    def close(self) -> None:
        """End the shard that is being filled, if any."""
        if self._writer is None:
            return
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        path = self._path()
        self.finished.append(Shard(path.name, path.stat().st_size, sha256_of(path)))
        self._writer, self._end, self._number = None, 0, self._number + 1

    def check_size(self, more: int, *, writing: str) -> None:
        """Raise DataError if the finished shards and `more` bytes are over the limit of the pack."""
        limit = self._limits.pack_bytes
        if limit is not None and sum(shard.bytes for shard in self.finished) + more > limit:
            raise DataError(
                explain(
                    "size of the pack",
                    expected=f"at most {limit / MEGABYTE:g} MB",
                    got=f"more {writing}",
                    do="raise --max-mb, or lower --short-side or --quality",
                )
            )

    def _path(self) -> Path:
        return self._folder / f"shard-{self._number:06d}.tar"


def _entry_bytes(data: bytes) -> int:
    """Bytes of a file in a tar: a block of header, and the content in whole blocks."""
    return TAR_BLOCK + -(-len(data) // TAR_BLOCK) * TAR_BLOCK


def _tar_bytes(end: int) -> int:
    """Bytes of a tar file whose last entry ends at `end`."""
    return -(-(end + 2 * TAR_BLOCK) // TAR_RECORD) * TAR_RECORD
