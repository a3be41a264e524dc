"""A teacher's answers on disk: the same clip is asked once, whatever run, process or machine asks again."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.training.teachers.cache_file import FORMAT_VERSION, decode, encode, read_limited
from sam2lite_mobile.training.teachers.clip_input import check_clip
from sam2lite_mobile.training.teachers.device import on_device
from sam2lite_mobile.training.teachers.teacher import Teacher, TeacherFrame

SHARD_DIGITS = 2
"""Files lie in 256 folders, named by the first digits of their key: a folder of a million entries is slow."""


@dataclass(frozen=True)
class CacheCounts:
    """Clips found and made so far. replaced: of those made, how many had a broken file. Bytes are those of files."""

    hits: int = 0
    misses: int = 0
    replaced: int = 0
    bytes_read: int = 0
    bytes_written: int = 0


class CachedTeacher:
    """`teacher` with its answers kept in `folder`, which any number of processes may share.

    A file is named by a hash of the teacher's fingerprint and of the clip, so nothing ever goes stale. Values are
    rounded to float16 before they are given back, whether they were found or made: both are the same bits. A file that
    is broken or foreign is made again and replaced; the first one is logged as a warning, all are counted.
    Raises ContractError for a folder that is a file.
    """

    def __init__(self, teacher: Teacher, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise ContractError(
                explain("teacher's cache", expected="a folder", got=f"a file: {folder}", do="choose another name")
            )
        self._teacher = teacher
        self._folder = folder
        self.counts = CacheCounts()

    @property
    def fingerprint(self) -> str:
        """Hash (hexadecimal) of the teacher's and of the rounding."""
        return hashlib.sha256(f"float16 {FORMAT_VERSION} {self._teacher.fingerprint}".encode()).hexdigest()

    @property
    def readout_width(self) -> int:
        """Channels of a readout."""
        return self._teacher.readout_width

    def track(self, frames: Tensor, first_mask: Tensor) -> list[TeacherFrame]:
        """Frames 1 to T - 1 of a clip, as `Teacher.track`, rounded to float16 and given as float32.

        Raises what the teacher raises, and DataError where the folder cannot be written to.
        """
        check_clip(frames, first_mask)
        key = self._key(frames, first_mask)
        path = self._folder / key[:SHARD_DIGITS] / f"{key}.safetensors"
        tracked = self._find(path, key)
        if tracked is None:
            data = encode(self._teacher.track(frames, first_mask), key=key)
            _write(path, data)
            counts = self.counts
            self.counts = replace(counts, misses=counts.misses + 1, bytes_written=counts.bytes_written + len(data))
            tracked = decode(data, key=key)
        return [on_device(frame, frames.device) for frame in tracked]

    def _find(self, path: Path, key: str) -> list[TeacherFrame] | None:
        try:
            data = read_limited(path)
            tracked = decode(data, key=key)
        except OSError:
            return None  # nothing is there, or writing will say what is wrong
        except DataError as error:
            counts = self.counts
            if counts.replaced == 0:
                logging.getLogger(__name__).warning(
                    "teacher's cache, file %s is made again, as are others like it: %s", path, error
                )
            self.counts = replace(counts, replaced=counts.replaced + 1)
            return None
        counts = self.counts
        self.counts = replace(counts, hits=counts.hits + 1, bytes_read=counts.bytes_read + len(data))
        return tracked

    def _key(self, frames: Tensor, first_mask: Tensor) -> str:
        digest = hashlib.sha256(f"{FORMAT_VERSION} {self._teacher.fingerprint} {tuple(frames.shape)};".encode())
        for tensor in (frames, first_mask):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    """Put the file in place at once: of two writers the later one wins, and both wrote the same."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            explain(f"teacher's cache {path.parent}", expected="a place to write", got=error.strerror, do="free it")
        ) from error
    replace_file(path, data)
