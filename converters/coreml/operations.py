"""The operations of an ML Program, read back from its package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.operations import Operation, Operations
from sam2lite_mobile.mlprogram import Package
from sam2lite_mobile.mlprogram.types import value_type

LAYERS = ("conv", "linear", "conv_transpose")
SILENT = ("const", "cast", "quantize", "dequantize")
"""Constants, and changes of type: what they change to is said of the operations that read it."""
COMPRESSED = "constexpr_"
_NAMES = {"fp16": "float16", "fp32": "float32"}


def operations(path: Path) -> Operations:
    """What the program at `path`, a .mlpackage, computes with."""
    package = Package(path)
    made = {out.name: op for op in package.block(package.default_function).operations for out in op.outputs}
    found = Operations()
    for op in package.block(package.default_function).operations:
        if op.type in SILENT or op.type.startswith(COMPRESSED):
            continue
        values = _dtype(op.outputs[0])
        if op.type in LAYERS and _maker(made, op, "x") == "dequantize":
            values = "int8"
        found[Operation(op.type, _weights(made, op) if op.type in LAYERS else "", values)] += 1
    return found


def _weights(made: dict[str, Any], op: Any) -> str:
    """What a layer's weight is stored in."""
    maker = made.get(_argument(op, "weight"))
    if maker is None or maker.type == "const":
        return _dtype(maker.outputs[0]) if maker is not None else ""
    if maker.type == "constexpr_lut_to_dense":
        (table,) = value_type(maker.attributes["lut"].type, where="lut").shape
        return f"palette of {table}"
    return "int8" if maker.type == "constexpr_affine_dequantize" else str(maker.type)


def _maker(made: dict[str, Any], op: Any, argument: str) -> str:
    maker = made.get(_argument(op, argument))
    return str(maker.type) if maker is not None else ""


def _argument(op: Any, name: str) -> str:
    return str(op.inputs[name].arguments[0].name)


def _dtype(output: Any) -> str:
    name = value_type(output.type, where=output.name).dtype.name
    return _NAMES.get(name, str(name))
