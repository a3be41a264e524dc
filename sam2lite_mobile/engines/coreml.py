"""The engine on Core ML packages: Core ML itself on macOS, the interpreter of ML Programs anywhere.

The two are never confused: `describe` says which one ran, and nothing falls back from one to the other silently once
`runtime` names it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import SWIFT_MODELS_FOLDER, graph_id
from sam2lite_mobile.engines.package_engine import (
    PackageEngine,
    bank_tokens_of,
    complete_sizes,
    graph_files,
    not_offered,
)
from sam2lite_mobile.errors import MissingBackendError, explain
from sam2lite_mobile.mlprogram import FeatureSpec, Package, Precision, Program
from sam2lite_mobile.mlprogram.precision import check_precision
from sam2lite_mobile.runtime.engine import EngineDescription

MULTIFUNCTION_PACKAGE = "sam2lite.mlpackage"
"""One package that holds every graph as a function named by its id."""
Runtime = Literal["auto", "coreml", "interpreter"]
_RUNTIMES = ("auto", "coreml", "interpreter")
_UNITS = ("ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE")
_BUILD = "build the package again with `python -m converters coreml`"

Tensors = Mapping[str, NDArray[np.float32]]


class _Graph(Protocol):
    """One loaded graph."""

    def run(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]: ...


class _CoreMLGraph:
    """A graph on Core ML through coremltools (macOS)."""

    def __init__(
        self, path: Path, function: str | None, inputs: tuple[FeatureSpec, ...], *, compute_units: str
    ) -> None:
        import coremltools

        units = getattr(coremltools.ComputeUnit, compute_units)
        self._model = coremltools.models.MLModel(str(path), compute_units=units, function_name=function)
        self._images = {spec.name for spec in inputs if spec.is_image}

    def run(self, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs by name, in arrays of their own."""
        feed: dict[str, Any] = {
            name: _pil_image(array) if name in self._images else array for name, array in tensors.items()
        }
        outputs = self._model.predict(feed)
        return {name: np.array(array, np.float32) for name, array in outputs.items()}


class CoreMLEngine(PackageEngine):
    """Runs the graphs of the contract from a folder of Core ML packages.

    folder: `<graph id>.mlpackage` for each graph, or one `sam2lite.mlpackage` with a function for each, or an iOS
        package (dist/ios), whose models are taken.
    precision: what the interpreter does with declared types (Core ML itself decides on its own).
    compute_units: ALL, CPU_ONLY, CPU_AND_GPU or CPU_AND_NE; only Core ML looks at it.
    runtime: `coreml` (macOS), `interpreter`, or `auto`: Core ML on macOS, else the interpreter.
    Raises PackageError for a folder without sound packages, MissingBackendError without the runtime asked for.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        precision: Precision = "declared",
        compute_units: str = "ALL",
        runtime: Runtime = "auto",
    ) -> None:
        if compute_units not in _UNITS:
            raise not_offered("compute units", _UNITS, compute_units)
        if runtime not in _RUNTIMES:
            raise not_offered("runtime", _RUNTIMES, runtime)
        check_precision(precision)
        published = Path(folder) / SWIFT_MODELS_FOLDER
        self._folder = published if published.is_dir() else Path(folder)
        self._precision = precision
        self._compute_units = compute_units
        on_mac = sys.platform == "darwin"
        self._native = runtime == "coreml" or (runtime == "auto" and on_mac)
        if find_spec("coremltools") is None or (self._native and not on_mac):
            got = f"{sys.platform}" if self._native and not on_mac else "no coremltools"
            raise MissingBackendError(
                explain(
                    "Core ML" if self._native else "the interpreter of ML Programs",
                    expected="coremltools, and macOS to run Core ML itself",
                    got=got,
                    do="pip install 'sam2lite-mobile[coreml]', or choose runtime='interpreter' off macOS",
                )
            )
        self._sources = _find_graphs(self._folder)
        self._packages: dict[Path, Package] = {}
        self._graphs: dict[str, _Graph] = {}
        self._sizes = complete_sizes(self._sources, where=f"Core ML packages in {self._folder}", build=_BUILD)
        self._bank_tokens = self._read_bank_tokens()

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, in arrays that are never written again."""
        return self._prepare(graph_id).run(tensors)

    def describe(self) -> EngineDescription:
        """Core ML with its compute units, or "ML Program reference semantics" with torch's threads."""
        if self._native:
            return EngineDescription("coreml", "as built", 0, _version("coremltools"), self._compute_units)
        import torch

        return EngineDescription(
            "coreml-interpreter",
            self._precision,
            torch.get_num_threads(),
            f"torch {torch.__version__}",
            "ML Program reference semantics",
        )

    def program(self, graph_id: str) -> Program:
        """The interpreter's program of a graph, for its report and observers. Raises ContractError on Core ML."""
        graph = self._prepare(graph_id)
        if not isinstance(graph, Program):
            raise not_offered("runtime of the program", ("interpreter",), "coreml")
        return graph

    def _prepare(self, name: str) -> _Graph:
        if name not in self._graphs:
            path, function = self._source(name)
            if self._native:
                inputs = self._package(path).inputs(function or self._package(path).default_function)
                self._graphs[name] = _CoreMLGraph(path, function, inputs, compute_units=self._compute_units)
            else:
                self._graphs[name] = Program(path, function=function, precision=self._precision)
        return self._graphs[name]

    def _source(self, name: str) -> tuple[Path, str | None]:
        if name not in self._sources:
            raise not_offered("graph", sorted(self._sources), name)
        return self._sources[name]

    def _package(self, path: Path) -> Package:
        if path not in self._packages:
            self._packages[path] = Package(path)
        return self._packages[path]

    def _read_bank_tokens(self) -> int:
        shapes = {}
        for size in self._sizes:
            name = graph_id("mask_decoder", size)
            path, function = self._source(name)
            package = self._package(path)
            inputs = {spec.name: spec.shape for spec in package.inputs(function or package.default_function)}
            shapes[name] = inputs.get("memory_keys", ())
        return bank_tokens_of(shapes, build=_BUILD)


def _find_graphs(folder: Path) -> dict[str, tuple[Path, str | None]]:
    """Where each graph lives: its package, and its function in a package of several."""
    shared = folder / MULTIFUNCTION_PACKAGE
    if shared.is_dir():
        return {name: (shared, name) for name in Package(shared).functions}
    return {name: (path, None) for name, path in graph_files(folder, ".mlpackage").items()}


def _pil_image(array: NDArray[np.float32]) -> Any:
    """A PIL image from float32 [1, 3, R, R] with whole numbers 0..255."""
    from PIL import Image

    return Image.fromarray(array[0].transpose(1, 2, 0).astype(np.uint8))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
