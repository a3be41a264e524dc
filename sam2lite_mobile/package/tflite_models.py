"""Reading TFLite models of a package without running them: the tensors that each signature declares."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sam2lite_mobile.errors import MissingBackendError, PackageError, explain
from sam2lite_mobile.package.tree import read_regular_file

MODEL_MAX_BYTES = 2**29
"""The largest package of ours, base in fp32 at six sizes, stays below 2^28."""
_IDENTIFIER = b"TFL3"
"""Bytes 4 to 7 of a TFLite model (`file_identifier` of its schema)."""
_SIGNATURES_MAX, _TENSORS_MAX = 256, 64
"""Of a file, and of one side of a signature. Offsets of a broken file may name any number."""


def read_tflite_interface(path: Path, graph: str) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs and outputs of the signature `graph`: name -> type in words, as `interface.type_in_words` spells them.

    Raises PackageError where the model cannot be read or has no such signature.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingBackendError(
            explain(
                "TFLite package",
                expected="the package ai-edge-litert",
                got="none",
                do="pip install 'sam2lite-mobile[tflite]'",
            )
        ) from error
    data = read_regular_file(path, max_bytes=MODEL_MAX_BYTES + 1)
    if len(data) > MODEL_MAX_BYTES:
        raise _broken(path, f"at most {MODEL_MAX_BYTES} bytes", "more")
    if data[4:8] != _IDENTIFIER:
        raise _broken(path, "a TFLite model", f"{data[4:8]!r} in place of {_IDENTIFIER!r}")
    try:
        model = schema.Model.GetRootAs(data, 0)
        found = _signature(model, graph)
        if found is None:
            raise _broken(path, f"a signature {graph}", "none")
        body = model.Subgraphs(found.SubgraphIndex())
        inputs = [found.Inputs(i) for i in range(_bounded(path, found.InputsLength(), _TENSORS_MAX))]
        outputs = [found.Outputs(i) for i in range(_bounded(path, found.OutputsLength(), _TENSORS_MAX))]
        return _types(schema, body, inputs), _types(schema, body, outputs)
    except (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise _broken(path, "a TFLite model", f"broken: {error}"[:300]) from error


def _signature(model: Any, name: str) -> Any:
    for index in range(min(model.SignatureDefsLength(), _SIGNATURES_MAX)):
        found = model.SignatureDefs(index)
        if found.SignatureKey() == name.encode():
            return found
    return None


def _types(schema: Any, body: Any, entries: Iterable[Any]) -> dict[str, str]:
    types = {}
    for entry in entries:
        tensor = body.Tensors(entry.TensorIndex())
        dtype = "float32" if tensor.Type() == schema.TensorType.FLOAT32 else f"type {tensor.Type()}"
        shape = [int(side) for side in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
        types[entry.Name().decode()] = f"array {dtype} {shape}"
    return types


def _bounded(path: Path, count: int, most: int) -> int:
    if count > most:
        raise _broken(path, f"at most {most} tensors on a side", str(count))
    return count


def _broken(path: Path, expected: str, got: str) -> PackageError:
    return PackageError(explain(str(path), expected=expected, got=got, do="convert the graphs again"))
