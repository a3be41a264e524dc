"""Reading a saved `.mlpackage` that holds an ML Program: manifest, model description, functions and constants.

The folder is untrusted. Sizes have limits, no path leaves the folder, and whatever is malformed is a PackageError.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.mlprogram.proto import new_model
from sam2lite_mobile.mlprogram.types import STRING, ValueType, decode, value_type
from sam2lite_mobile.mlprogram.weights import WeightFile

MAX_MANIFEST_BYTES = 1 << 20
MAX_SPEC_BYTES = 64 << 20
MODEL_PATH = "@model_path/"
"""How a program refers to the folder of its model file."""
_COLORS = {20: "RGB", 30: "BGR"}
_REBUILD = "build the package again"

Constant = NDArray[Any] | str
"""A decoded constant: floats as stored, integers, booleans, or one string."""


@dataclass(frozen=True)
class FeatureSpec:
    """An input or output at the border of a function.

    `shape` and `dtype` (MIL name: fp32, fp16, int32) are those of the tensor inside the program; an image input is
    [1, 3, height, width] with values 0..255 there. `color` is the channel order of an image, else None.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    color: str | None = None

    @property
    def is_image(self) -> bool:
        """True where the interface takes an image and not a tensor."""
        return self.color is not None


@dataclass(frozen=True)
class Metadata:
    """What the package says about itself."""

    author: str
    license: str
    version: str
    description: str
    user_defined: dict[str, str]


class Package:
    """One opened package. Raises PackageError for a folder that is not a sound ML Program package."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise PackageError(
                explain("Core ML package", expected="a .mlpackage folder", got=str(self.path), do="check the path")
            )
        model_path = self._model_path()
        self._spec = new_model()
        data = self._bytes(model_path, MAX_SPEC_BYTES)
        try:
            self._spec.ParseFromString(data)
        except Exception as error:  # protobuf's DecodeError lives in whichever protobuf the classes were built on
            raise self._broken("model file", "a Core ML model", f"bytes that do not parse ({error})") from error
        kind = self._spec.WhichOneof("Type")
        if kind != "mlProgram":
            raise self._broken("model type", "mlProgram", kind or "none", do="convert with convert_to='mlprogram'")
        self._root = model_path.parent
        self._weights: dict[str, WeightFile] = {}

    @property
    def specification_version(self) -> int:
        """Core ML's version number of the model format: 8 is iOS 17, 9 is iOS 18."""
        return int(self._spec.specificationVersion)

    @property
    def metadata(self) -> Metadata:
        """Author, licence, version and description that the converter wrote."""
        found = self._spec.description.metadata
        return Metadata(
            found.author, found.license, found.versionString, found.shortDescription, dict(found.userDefined)
        )

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions, sorted. A package with one function calls it `main`."""
        return tuple(sorted(self._spec.mlProgram.functions))

    @property
    def default_function(self) -> str:
        """The function that runs when none is named."""
        return self._spec.description.defaultFunctionName or "main"

    def function(self, name: str) -> Any:
        """The `Function` message called `name`. Raises PackageError naming the functions that exist."""
        if name not in self._spec.mlProgram.functions:
            raise self._broken("function", ", ".join(self.functions), name, do="name one of these")
        return self._spec.mlProgram.functions[name]

    def block(self, name: str) -> Any:
        """The `Block` message of a function for its own operation set."""
        function = self.function(name)
        if function.opset not in function.block_specializations:
            raise self._broken(f"function {name}", f"operations for {function.opset or 'an operation set'}", "none")
        return function.block_specializations[function.opset]

    def inputs(self, function: str) -> tuple[FeatureSpec, ...]:
        """Inputs of a function in call order."""
        described = {feature.name: feature for feature in self._description(function).input}
        specs = []
        for declared in self.function(function).inputs:
            type_ = value_type(declared.type, where=f"input {declared.name}")
            if declared.name not in described:
                raise self._broken(f"input {declared.name}", "a description of it", "none")
            specs.append(self._feature(declared.name, type_, described[declared.name].type))
        return tuple(specs)

    def outputs(self, function: str) -> tuple[FeatureSpec, ...]:
        """Outputs of a function in the order of its description."""
        block = self.block(function)
        produced = {out.name: out for operation in block.operations for out in operation.outputs}
        produced.update({declared.name: declared for declared in self.function(function).inputs})
        described = [feature.name for feature in self._description(function).output]
        specs = []
        for name in sorted(block.outputs, key=lambda n: described.index(n) if n in described else len(described)):
            if name not in produced:
                raise self._broken(f"output {name}", "an operation that produces it", "none")
            type_ = value_type(produced[name].type, where=f"output {name}")
            specs.append(FeatureSpec(name, type_.shape, type_.dtype.name))
        return tuple(specs)

    def constant(self, value: Any, *, where: str) -> Constant:
        """The decoded `Value` message: an array, or a string."""
        type_ = value_type(value.type, where=where)
        if value.WhichOneof("value") == "blobFileValue":
            blob = value.blobFileValue
            return self._weight_file(blob.fileName).read(blob.offset, type_, where=where)
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        if kind is None:
            raise self._broken(f"constant {where}", "a value", "none")
        values = getattr(tensor, kind).values
        if type_.dtype is STRING:
            if kind != "strings" or type_.shape or len(values) != 1:
                raise self._broken(f"constant {where}", "one string", f"{len(values)} {kind}")
            return str(values[0])
        if kind == "bytes":  # fp16, 8- and 16-bit integers, uint32 and sub-byte integers are raw bytes
            return decode(np.frombuffer(values, np.uint8), type_, where=where)
        try:
            return np.array(values, type_.dtype.storage).reshape(type_.shape)
        except (ValueError, OverflowError, TypeError) as error:
            raise self._broken(f"constant {where}", str(type_), f"{len(values)} {kind}") from error

    def _model_path(self) -> Path:
        manifest_path = self.path / "Manifest.json"
        if not manifest_path.is_file():
            raise self._broken("manifest", "Manifest.json", "no such file")
        try:
            manifest = json.loads(self._bytes(manifest_path, MAX_MANIFEST_BYTES))
            path = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._broken("Manifest.json", "the path of the root model", "something else") from error
        if not isinstance(path, str):
            raise self._broken("Manifest.json", "the path of the root model", type(path).__name__)
        return self._inside(self.path / "Data", path)

    def _weight_file(self, name: str) -> WeightFile:
        if name not in self._weights:
            if not name.startswith(MODEL_PATH):
                raise self._broken("weight file", f"a path in {MODEL_PATH}", repr(name))
            self._weights[name] = WeightFile(self._inside(self._root, name.removeprefix(MODEL_PATH)))
        return self._weights[name]

    def _inside(self, folder: Path, name: str) -> Path:
        """`folder / name`, which must be a file of the package: no absolute path, no `..`, no link that leads out."""
        relative = PurePosixPath(name)
        legal = "\0" not in name and "\\" not in name and not relative.is_absolute() and ".." not in relative.parts
        path = folder / relative
        if not legal or not path.resolve().is_relative_to(self.path.resolve()):
            raise self._broken("path", "a file inside the package", repr(name))
        if not path.is_file():
            raise self._broken("package", f"file {name}", "no such file")
        return path

    def _bytes(self, path: Path, limit: int) -> bytes:
        size = path.stat().st_size
        if size > limit:
            raise self._broken(path.name, f"at most {limit} bytes", f"{size} bytes")
        return path.read_bytes()

    def _description(self, function: str) -> Any:
        for description in self._spec.description.functions:  # multifunction packages have one for each
            if description.name == function:
                return description
        return self._spec.description

    def _feature(self, name: str, type_: ValueType, described: Any) -> FeatureSpec:
        if described.WhichOneof("Type") != "imageType":
            return FeatureSpec(name, type_.shape, type_.dtype.name)
        image = described.imageType
        color = _COLORS.get(image.colorSpace)
        if color is None or type_.shape != (1, 3, image.height, image.width):
            raise self._broken(f"image {name}", f"RGB or BGR of shape {list(type_.shape)}", "another image type")
        return FeatureSpec(name, type_.shape, type_.dtype.name, color)

    def _broken(self, what: str, expected: str, got: str, *, do: str = _REBUILD) -> PackageError:
        return PackageError(explain(f"{self.path.name}: {what}", expected=expected, got=got, do=do))
