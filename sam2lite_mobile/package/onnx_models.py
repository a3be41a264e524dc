"""Reading ONNX models of a package without running them: what they declare, and where their weights lie."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sam2lite_mobile.errors import MissingBackendError, PackageError, explain
from sam2lite_mobile.package.tree import read_regular_file

if TYPE_CHECKING:
    import onnx

WEIGHTS_NAME = "weights.bin"
"""The file beside the models that holds the constants of all of them."""
MODEL_MAX_BYTES = 256 * 2**20
"""A model of ours without its weights is below 1 MiB, with them below 64."""


def read_model(path: Path) -> onnx.ModelProto:
    """The parsed model, its external weights not read. Raises PackageError for what is no ONNX model."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingBackendError(
            explain("ONNX package", expected="the package onnx", got="none", do="pip install 'sam2lite-mobile[onnx]'")
        ) from error
    data = read_regular_file(path, max_bytes=MODEL_MAX_BYTES + 1)
    if len(data) > MODEL_MAX_BYTES:
        raise _broken(path, f"at most {MODEL_MAX_BYTES} bytes", "more")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise _broken(path, "an ONNX model", str(error)) from error
    if not model.graph.node:
        raise _broken(path, "an ONNX model", "no nodes")
    return model


def read_onnx_interface(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs and outputs of a model: name -> type in words, as `interface.type_in_words` spells those of a manifest.

    Raises PackageError where the model cannot be read, or a constant lies elsewhere than in its own weights file.
    """
    model = read_model(path)
    _check_places(path, model)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    return _types(inputs), _types(model.graph.output)


def _check_places(path: Path, model: onnx.ModelProto) -> None:
    """No constant points out of the weights file: a path elsewhere would read whatever lies there."""
    weights = path.parent / WEIGHTS_NAME
    length = weights.lstat().st_size if weights.is_file() and not weights.is_symlink() else 0
    for tensor in model.graph.initializer:
        if tensor.data_location != tensor.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        try:
            end = int(place["offset"]) + int(place["length"])
            inside = place["location"] == WEIGHTS_NAME and int(place["offset"]) >= 0 and end <= length
        except (KeyError, ValueError):
            inside = False
        if not inside:
            raise _broken(path, f"{tensor.name} inside {WEIGHTS_NAME}", str(place)[:200])


def _types(values: Iterable[onnx.ValueInfoProto]) -> dict[str, str]:
    from onnx import TensorProto

    types = {}
    for value in values:
        tensor = value.type.tensor_type
        dtype = "float32" if tensor.elem_type == TensorProto.FLOAT else f"type {tensor.elem_type}"
        types[value.name] = f"array {dtype} {[axis.dim_value for axis in tensor.shape.dim]}"
    return types


def _broken(path: Path, expected: str, got: str) -> PackageError:
    return PackageError(explain(str(path), expected=expected, got=got, do="convert the graph again"))
