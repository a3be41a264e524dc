"""The result file of `sam2lite sensitivity`."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from sam2lite_mobile.evaluation.conditions import Machine
from sam2lite_mobile.media.json_file import write_json
from sam2lite_mobile.quantization.sensitivity import LayerCost


class SensitivityResult(Struct, frozen=True):
    """What was measured, on what; `layers` from the most to the least sensitive, `together` all layers at once."""

    checkpoint_sha256: str
    recipe: str
    size: int
    data: str
    sequences: list[str]
    frames: int
    machine: Machine
    layers: list[LayerCost]
    together: list[LayerCost]


def write_sensitivity(path: Path, result: SensitivityResult) -> None:
    """Write a result as JSON; the old file or the new one is there, whenever interrupted."""
    write_json(path, result)
