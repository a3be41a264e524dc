"""The engine on TFLite packages, run on the processor by LiteRT or by tflite-runtime, its former name."""

from __future__ import annotations

import importlib.metadata
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import TFLITE_MODEL, GraphSpec, all_graph_specs, graph_id
from sam2lite_mobile.engines.package_engine import PackageEngine, bank_tokens_of, complete_sizes, not_offered
from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.runtime.engine import EngineDescription

try:
    from ai_edge_litert.interpreter import Interpreter

    _RUNTIME = "ai-edge-litert"
except ModuleNotFoundError as missing:
    try:
        from tflite_runtime.interpreter import Interpreter

        _RUNTIME = "tflite-runtime"
    except ModuleNotFoundError:
        raise missing from None

RECIPE_METADATA = "sam2lite_recipe"
"""Metadata of a model: the precision recipe of its package."""
MODEL_MAX_BYTES = 2**29
"""The largest package of ours, base in fp32 at six sizes, stays below 2^28."""
_BUILD = "build the package again with `python -m converters tflite`"

Tensors = Mapping[str, NDArray[np.float32]]


class TfliteEngine(PackageEngine):
    """Runs the graphs of the contract from a TFLite package (dist/android), or from a folder that holds its model.

    threads: of one graph at a time. XNNPACK, the default delegate, prepares all graphs when the first one runs.
    Raises PackageError for a folder without a sound model.
    """

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        published = Path(folder) / TFLITE_MODEL
        self._path = published if published.is_file() else Path(folder) / Path(TFLITE_MODEL).name
        self._threads = threads
        self._runners: dict[str, Any] = {}
        if not self._path.is_file():
            raise PackageError(
                explain(f"TFLite package {folder}", expected=TFLITE_MODEL, got=_contents(Path(folder)), do=_BUILD)
            )
        self._interpreter = open_interpreter(self._path, threads=threads)
        self._signatures = self._interpreter.get_signature_list()
        self._sizes = complete_sizes(self._signatures, where=f"signatures of {self._path}", build=_BUILD)
        keys = {name: self._shape(name, "memory_keys") for name in (graph_id("mask_decoder", s) for s in self._sizes)}
        self._bank_tokens = bank_tokens_of(keys, build=_BUILD)
        self._specs = {spec.id: spec for spec in all_graph_specs(self._sizes, bank_tokens=self._bank_tokens)}

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, in arrays of their own."""
        found: dict[str, NDArray[np.float32]] = self._prepare(graph_id)(**tensors)
        return found

    def describe(self) -> EngineDescription:
        """What of both runtimes it is, with its version and threads."""
        version = f"{_RUNTIME} {importlib.metadata.version(_RUNTIME)}"
        return EngineDescription("tflite", read_recipe(self._path), self._threads, version, "XNNPACK")

    def _shape(self, name: str, tensor: str) -> tuple[int, ...]:
        details = self._interpreter.get_signature_runner(name).get_input_details()
        return tuple(int(side) for side in details[tensor]["shape"]) if tensor in details else ()

    def _prepare(self, name: str) -> Any:
        if name not in self._runners:
            if name not in self._specs or name not in self._signatures:
                raise not_offered("graph", sorted(self._specs), name)
            runner = self._interpreter.get_signature_runner(name)
            _check_signature(self._path, self._specs[name], runner)
            self._runners[name] = runner
        return self._runners[name]


def open_interpreter(path: Path, *, threads: int) -> Any:
    """An interpreter of a model file. Raises PackageError for one that does not load."""
    size = path.stat().st_size
    if size > MODEL_MAX_BYTES:
        raise PackageError(explain(str(path), expected=f"at most {MODEL_MAX_BYTES} bytes", got=size, do=_BUILD))
    try:
        return Interpreter(model_path=str(path), num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise PackageError(
            explain(str(path), expected="a model that LiteRT loads", got=str(error)[:300], do=_BUILD)
        ) from error


def read_recipe(path: Path) -> str:
    """The precision recipe that a model's metadata names; `as built` where nothing says.

    tflite-runtime does not come with the schema's classes that this needs.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        return "as built"
    try:
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        for index in range(model.MetadataLength()):
            entry = model.Metadata(index)
            if entry.Name() == RECIPE_METADATA.encode():
                return bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
    except (struct.error, ValueError, IndexError, TypeError, AttributeError) as error:
        raise PackageError(explain(str(path), expected="readable metadata", got=str(error)[:200], do=_BUILD)) from error
    return "as built"


def _check_signature(path: Path, spec: GraphSpec, runner: Any) -> None:
    """The tensors of a signature are the contract's: LiteRT would resize inputs of other shapes, and run."""
    for side, tensors, found in (
        ("inputs", spec.inputs, runner.get_input_details()),
        ("outputs", spec.outputs, runner.get_output_details()),
    ):
        expected = {tensor.name: _words(tensor.shape, np.float32) for tensor in tensors}
        got = {name: _words(tuple(map(int, each["shape"])), each["dtype"]) for name, each in found.items()}
        if got != expected:
            wrong = sorted(name for name in {*expected, *got} if expected.get(name) != got.get(name))
            raise PackageError(
                explain(
                    f"{path}: {side} of {spec.id}",
                    expected="; ".join(f"{name} {expected.get(name, 'none')}" for name in wrong),
                    got="; ".join(f"{name} {got.get(name, 'none')}" for name in wrong),
                    do=_BUILD,
                )
            )


def _words(shape: tuple[int, ...], dtype: Any) -> str:
    return f"{np.dtype(dtype).name} {list(shape)}"


def _contents(folder: Path) -> str:
    """What a folder holds in its place, for messages."""
    models = sorted({path.suffix for path in folder.rglob("*") if path.suffix in (".onnx", ".mlpackage", ".pte")})
    return f"a package of another runtime ({', '.join(models)})" if models else "no such file"
