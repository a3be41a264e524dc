"""A latency table with round figures."""

from __future__ import annotations

from sam2lite_mobile.contract import SIZES
from sam2lite_mobile.evaluation.adaptive.latency_table import SCHEMA_VERSION, LatencyRow, LatencyTable
from sam2lite_mobile.evaluation.conditions import EngineInfo, Machine

FRAME_MS = {256: 70.0, 304: 90.0, 352: 115.0, 416: 155.0, 464: 195.0, 512: 230.0}


def round_table() -> LatencyTable:
    """Windows of 2 and 8 cost the same but at 512 px, where 2 takes 220 ms."""
    rows = [
        LatencyRow(size, window, {"image_encoder": ms / 2, "mask_decoder": ms / 2}, ms, 2 * ms)
        for size in SIZES
        for window, ms in ((2, 220.0 if size == 512 else FRAME_MS[size]), (8, FRAME_MS[size]))
    ]
    return LatencyTable(
        schema_version=SCHEMA_VERSION,
        package_version="0.1.0",
        engine=EngineInfo("scripted", "fp32", 1, "1", "", None),
        machine=Machine("test", "test", 2, "3.11"),
        clip="square",
        objects=1,
        bank_tokens=384,
        frames=3,
        timer="made up",
        load_start=0.1,
        load_end=None,
        rows=rows,
    )
