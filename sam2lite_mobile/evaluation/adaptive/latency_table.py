"""The latency table of a device: what each stage of a frame takes, by input size and memory window."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from sam2lite_mobile.contract import SIZES
from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine
from sam2lite_mobile.media.json_file import read_json, write_json

SCHEMA_VERSION = 1
TABLE_BYTES = 2**20
"""A larger file is refused unread."""
TOTAL = "total"
Milliseconds = Annotated[float, Meta(gt=0)]


class LatencyRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One input size and window. stages_ms: median of each stage of `Tracker.step`; total_ms: of the whole frame.

    wall_ms: the same whole frame on the wall clock, which tells how busy the machine was.
    """

    size: Annotated[int, Meta(ge=min(SIZES), le=max(SIZES))]
    window: Annotated[int, Meta(ge=2, le=8)]
    stages_ms: dict[str, Annotated[float, Meta(ge=0)]]
    total_ms: Milliseconds
    wall_ms: Milliseconds


class LatencyTable(Struct, frozen=True, forbid_unknown_fields=True):
    """A device's table and what it holds for. load_start, load_end: one-minute load averages, null where unknown."""

    schema_version: int
    package_version: str
    engine: EngineInfo
    machine: Machine
    clip: str
    objects: Annotated[int, Meta(ge=1)]
    bank_tokens: Annotated[int, Meta(ge=1)]
    frames: Annotated[int, Meta(ge=1)]
    timer: str
    load_start: float | None
    load_end: float | None
    rows: Annotated[list[LatencyRow], Meta(min_length=1, max_length=len(SIZES) * 7)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Input sizes that were measured, ascending."""
        return tuple(sorted({row.size for row in self.rows}))

    def frame_ms(self, size: int, window: int) -> float:
        """Time of a frame at this size and the nearest measured window (the smaller of two). Raises DataError."""
        rows = [row for row in self.rows if row.size == size]
        if not rows:
            raise DataError(
                explain("latency table", expected=f"sizes of {self.sizes}", got=size, do="measure this size too")
            )
        return min(rows, key=lambda row: (abs(row.window - window), row.window)).total_ms


def write_table(path: Path, table: LatencyTable) -> None:
    """Write a table as JSON; the old file or the new one is there, whenever interrupted. Raises DataError."""
    write_json(path, table)


def read_table(path: Path) -> LatencyTable:
    """A table. Raises DataError if it is missing, too large, of another version, or breaks the schema."""
    expected = "a table of sam2lite adaptive table"
    table = read_json(path, LatencyTable, max_bytes=TABLE_BYTES, expected=expected, do="measure it again")
    if table.schema_version != SCHEMA_VERSION or not set(table.sizes) <= set(SIZES):
        raise DataError(
            explain(
                str(path),
                expected=f"schema version {SCHEMA_VERSION}, sizes of {SIZES}",
                got=f"version {table.schema_version}, sizes {table.sizes}",
                do="measure it again",
            )
        )
    return table
