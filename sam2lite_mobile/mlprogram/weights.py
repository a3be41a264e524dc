"""weight.bin: the file of a package that holds its large constants.

Layout (MILBlob/Blob/StorageFormat.hpp): a 64-byte header (uint32 count, uint32 version 2), then records of 64 bytes
(uint32 sentinel, uint32 blob dtype, uint64 bytes, uint64 absolute data offset, uint64 padding bits), each followed
by its data. Everything is little-endian and 64-byte aligned. A program refers to the record, not to the data.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.mlprogram.types import BLOB_DTYPES, ValueType, decode

MAX_BYTES = 1 << 31
ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
_REBUILD = "the package is truncated or broken: build it again"


class WeightFile:
    """Constants of one weight.bin, mapped into memory and checked record by record.

    Raises PackageError for a wrong header, a record or data outside the file, data that overlaps another record's,
    and a dtype or size that differs from what the program declares.
    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if not ALIGNMENT <= size <= MAX_BYTES:
            raise PackageError(
                explain(path.name, expected=f"{ALIGNMENT} to {MAX_BYTES} bytes", got=f"{size} bytes", do=_REBUILD)
            )
        self._name = path.name
        self._data: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        self._count, version = struct.unpack("<II", self._data[:8].tobytes())
        if version != VERSION:
            raise PackageError(
                explain(path.name, expected=f"format version {VERSION}", got=version, do="convert with coremltools 9.0")
            )
        self._records: dict[int, tuple[int, int, int]] = {}
        self._extents: list[tuple[int, int]] = [(0, ALIGNMENT)]

    def read(self, offset: int, type_: ValueType, *, where: str) -> NDArray[Any]:
        """The constant whose record starts at byte `offset`, as an array of `type_`; read-only."""
        blob_dtype, start, end = self._record(offset, where)
        stored = BLOB_DTYPES.get(blob_dtype)
        if stored is not type_.dtype:
            raise PackageError(
                explain(
                    f"{self._name}: {where}",
                    expected=type_.dtype.name,
                    got=stored.name if stored else f"blob dtype {blob_dtype}",
                    do=_REBUILD,
                )
            )
        return decode(np.asarray(self._data[start:end]), type_, where=f"{self._name}: {where}")

    def _record(self, offset: int, where: str) -> tuple[int, int, int]:
        if offset in self._records:  # the functions of one package share constants
            return self._records[offset]
        if offset % ALIGNMENT or not 0 < offset <= self._data.size - ALIGNMENT:
            raise self._broken(where, f"a record inside {self._data.size} bytes", f"offset {offset}")
        sentinel, dtype, size, start = struct.unpack("<IIQQ", self._data[offset : offset + 24].tobytes())
        if sentinel != SENTINEL:
            raise self._broken(where, f"a record at offset {offset}", "other bytes")
        if start % ALIGNMENT or start < ALIGNMENT or start + size > self._data.size:
            raise self._broken(where, f"data inside {self._data.size} bytes", f"{size} bytes at {start}")
        if len(self._records) == self._count:
            raise self._broken(where, f"{self._count} records", "one more")
        self._claim(offset, offset + ALIGNMENT, where)
        if size:
            self._claim(start, start + size, where)
        self._records[offset] = dtype, start, start + size
        return self._records[offset]

    def _claim(self, start: int, end: int, where: str) -> None:
        place = bisect_left(self._extents, (start, end))
        before = self._extents[place - 1][1] if place else 0
        after = self._extents[place][0] if place < len(self._extents) else self._data.size
        if before > start or after < end:
            raise self._broken(where, "data of its own", f"bytes {start} to {end}, which overlap another constant")
        insort(self._extents, (start, end))

    def _broken(self, where: str, expected: str, got: str) -> PackageError:
        return PackageError(explain(f"{self._name}: {where}", expected=expected, got=got, do=_REBUILD))
