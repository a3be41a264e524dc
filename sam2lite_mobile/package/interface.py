"""The inputs and outputs that a graph's file declares, read without the runtime that runs it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from sam2lite_mobile.contract import TensorSpec
from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.media.json_file import NOT_JSON
from sam2lite_mobile.mlprogram.proto import new_model
from sam2lite_mobile.package.executorch_program import read_delegated_interface, read_executorch_interface
from sam2lite_mobile.package.manifest import DELEGATED, Runtime, Tensor
from sam2lite_mobile.package.onnx_models import read_onnx_interface
from sam2lite_mobile.package.tflite_models import read_tflite_interface
from sam2lite_mobile.package.tree import path_fault, read_regular_file

PACKAGE_MANIFEST = "Manifest.json"
SPEC_MAX_BYTES = 64 * 2**20
"""A specification holds no weights: the largest of ours is below 1 MiB."""

_DTYPES = {65568: "float32", 65552: "float16", 131104: "int32", 65600: "float64"}
"""ArrayFeatureType.ArrayDataType in FeatureTypes.proto."""
_RGB = 20
"""ImageFeatureType.ColorSpace.RGB in FeatureTypes.proto."""


class PackageItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One item of a Core ML package's own Manifest.json: a file or folder below `Data`."""

    author: str
    description: str
    name: str
    path: str


class PackageItems(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A Core ML package's own Manifest.json."""

    file_format_version: str
    item_info_entries: dict[str, PackageItem]
    root_model_identifier: str


def read_items(mlpackage: Path) -> PackageItems:
    """The package's own Manifest.json. Raises PackageError where it is broken or a path leaves the package."""
    path = mlpackage / PACKAGE_MANIFEST
    try:
        items = msgspec.json.decode(read_regular_file(path, max_bytes=2**20), type=PackageItems)
    except NOT_JSON as error:
        raise _broken(path, "the manifest of a Core ML package", str(error)) from error
    if items.root_model_identifier not in items.item_info_entries:
        raise _broken(path, "an entry for its rootModelIdentifier", "none")
    for item in items.item_info_entries.values():
        if fault := path_fault(item.path):
            raise _broken(path, "paths inside the package", f"{item.path!r}: {fault}")
    return items


def spec_path(mlpackage: Path) -> Path:
    """The path of model.mlmodel, as the package's own Manifest.json names it. Raises as read_items does."""
    items = read_items(mlpackage)
    return mlpackage / "Data" / items.item_info_entries[items.root_model_identifier].path


def read_spec(path: Path) -> Any:
    """The parsed `Model` message of a model.mlmodel. Raises PackageError for what is no ML Program."""
    data = read_regular_file(path, max_bytes=SPEC_MAX_BYTES + 1)
    if len(data) > SPEC_MAX_BYTES:
        raise _broken(path, f"at most {SPEC_MAX_BYTES} bytes", "more")
    model = new_model()
    from google.protobuf.message import DecodeError

    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise _broken(path, "a Core ML specification", str(error)) from error
    if model.WhichOneof("Type") != "mlProgram":
        raise _broken(path, "an ML Program", model.WhichOneof("Type") or "no model")
    return model


def read_interface(path: Path, runtime: Runtime, graph_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs and outputs of a graph: name -> type in words, as `type_in_words` spells the types of a manifest.

    graph_id: of the graph, where one file holds several. Raises PackageError where the file or folder cannot be read.
    """
    if runtime == "executorch":
        return read_executorch_interface(path, graph_id)
    if runtime in DELEGATED:
        return read_delegated_interface(path, runtime, graph_id)
    if runtime == "tflite":
        return read_tflite_interface(path, graph_id)
    return read_onnx_interface(path) if runtime == "onnx" else read_mlpackage_interface(path)


def read_mlpackage_interface(mlpackage: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs and outputs of a .mlpackage: name -> type in words, as `type_in_words` spells the types of a manifest.

    Raises PackageError where the package cannot be read.
    """
    description = read_spec(spec_path(mlpackage)).description
    return _types(description.input), _types(description.output)


def type_in_words(tensor: Tensor) -> str:
    """The type of a manifest's tensor: `array float32 [1, 8, 2]` or `image RGB 512 x 512`."""
    if tensor.kind == "image":
        height, width = tensor.shape[-2:]
        return f"image RGB {width} x {height}"
    return f"array {tensor.dtype} {list(tensor.shape)}"


def declare_tensors(specs: Iterable[TensorSpec], found: dict[str, str]) -> tuple[Tensor, ...]:
    """The contract's tensors as manifest entries; `kind` is `image` where the package takes a picture there."""
    tensors = []
    for spec in specs:
        image = found.get(spec.name, "").startswith("image")
        tensors.append(
            Tensor(
                name=spec.name,
                kind="image" if image else "array",
                shape=spec.shape,
                dtype="uint8" if image else "float32",
                low=spec.low,
                high=spec.high,
                meaning=spec.meaning,
            )
        )
    return tuple(tensors)


def _types(features: Iterable[Any]) -> dict[str, str]:
    types = {}
    for feature in features:
        kind = feature.type.WhichOneof("Type")
        if kind == "imageType":
            image = feature.type.imageType
            colour = "RGB" if image.colorSpace == _RGB else f"colour space {image.colorSpace}"
            types[feature.name] = f"image {colour} {image.width} x {image.height}"
        elif kind == "multiArrayType":
            array = feature.type.multiArrayType
            types[feature.name] = f"array {_DTYPES.get(array.dataType, array.dataType)} {list(array.shape)}"
        else:
            types[feature.name] = str(kind)
        if feature.type.isOptional:
            types[feature.name] += ", optional"
    return types


def _broken(path: Path, expected: str, got: str) -> PackageError:
    return PackageError(explain(str(path), expected=expected, got=got, do="convert the graph again"))
