"""The engine on ExecuTorch packages, run by ExecuTorch's runtime with the XNNPACK delegate on the processor."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from executorch.extension.pybindings._C import _unsafe_reset_threadpool
from executorch.runtime import Program, Runtime, Verification
from numpy.typing import NDArray

from sam2lite_mobile.contract import (
    EXECUTORCH_MODELS_FOLDER,
    EXECUTORCH_PROGRAM,
    GRAPHS,
    GraphSpec,
    TensorSpec,
    all_graph_specs,
    graph_id,
    graph_spec,
)
from sam2lite_mobile.engines.delegated_program import RECIPE_METHOD
from sam2lite_mobile.engines.package_engine import PackageEngine, bank_tokens_of, complete_sizes, not_offered
from sam2lite_mobile.errors import ContractError, PackageError, explain
from sam2lite_mobile.runtime.engine import EngineDescription

BACKEND = "XnnpackBackend"
_BUILD = "build the package again with `python -m converters executorch`"

Tensors = Mapping[str, NDArray[np.float32]]


class ExecutorchEngine(PackageEngine):
    """Runs the graphs of the contract from `sam2lite.pte`, or from an ExecuTorch package (dist/executorch).

    The program has a method for each graph id, which takes and gives the contract's tensors in the contract's order.
    threads: of the delegate's thread pool, which all programs of a process share. Raises PackageError for a folder
    without a sound program of the XNNPACK delegate.
    """

    def __init__(self, folder: Path | str, *, threads: int = 1) -> None:
        published = Path(folder) / EXECUTORCH_MODELS_FOLDER
        self._path = (published if published.is_dir() else Path(folder)) / EXECUTORCH_PROGRAM
        self._threads = threads
        self._program = open_program(self._path)
        self._methods: dict[str, Any] = {}
        names = set(self._program.method_names)
        self._sizes = complete_sizes(names - {RECIPE_METHOD}, where=f"methods of {self._path}", build=_BUILD)
        decoder = graph_id("mask_decoder", self._sizes[0])
        keys = [tensor.name for tensor in graph_spec("mask_decoder").inputs].index("memory_keys")
        shape = tuple(self._program.metadata(decoder).input_tensor_meta(keys).sizes())
        self._bank_tokens = bank_tokens_of({decoder: shape}, build=_BUILD)
        self._specs = {spec.id: spec for size in self._sizes for spec in self._specs_of(size)}

    def run(self, graph_id: str, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, in arrays of their own."""
        method = self._prepare(graph_id)
        return run_method(method, self._specs[graph_id], tensors)

    def spec(self, name: str) -> GraphSpec:
        """The contract's entry of a graph, for this engine's bank. Raises ContractError for an unknown one."""
        if name not in self._specs:
            raise not_offered("graph", sorted(self._specs), name)
        return self._specs[name]

    def describe(self) -> EngineDescription:
        """ExecuTorch with its version, threads and delegate."""
        return EngineDescription("executorch", recipe_of(self._program), self._threads, runtime_version(), BACKEND)

    def _specs_of(self, size: int) -> list[GraphSpec]:
        return [graph_spec(graph, size, bank_tokens=self._bank_tokens) for graph in GRAPHS]

    def _prepare(self, name: str) -> Any:
        self.spec(name)
        if name not in self._methods:
            self._methods[name] = load_method(self._program, name, threads=self._threads, where=str(self._path))
        return self._methods[name]


_pool_threads: list[int] = []


def set_threads(threads: int) -> None:
    """Give the delegate's thread pool, one for the process, this many threads: once, before a method is loaded.

    A loaded method keeps a pointer to the pool, and hangs or worse once the pool is made anew. Raises ContractError
    where the pool has another number already.
    """
    if not _pool_threads:
        _unsafe_reset_threadpool(threads)
        _pool_threads.append(threads)
    elif _pool_threads != [threads]:
        raise ContractError(
            explain(
                "threads of ExecuTorch",
                expected=f"{_pool_threads[0]}, as the first engine of this process has",
                got=threads,
                do="use the same number, or another process",
            )
        )


def open_program(path: Path) -> Program:
    """A program, its file checked for consistency. Raises PackageError for one that does not load."""
    if not path.is_file():
        raise PackageError(explain(str(path), expected="a program", got="no file", do=_BUILD))
    try:
        return Runtime.get().load_program(path, verification=Verification.InternalConsistency)
    except RuntimeError as error:
        raise _broken(str(path), "a program that ExecuTorch loads", error) from error


def load_method(program: Program, name: str, *, threads: int, where: str) -> Any:
    """A method, its weights packed. Raises PackageError where it does not load, ContractError as `set_threads`."""
    set_threads(threads)
    try:
        return program.load_method(name)
    except RuntimeError as error:
        raise _broken(f"{where}: {name}", "a method that this runtime has the delegate for", error) from error


def run_method(method: Any, spec: GraphSpec, tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """The outputs of a graph's method by name, copied out of the runtime's memory."""
    arguments = [torch.from_numpy(_writable(tensors[each.name])) for each in spec.inputs]
    outputs = method.execute(arguments)
    return {each.name: output.numpy().copy() for each, output in zip(spec.outputs, outputs, strict=True)}


def _writable(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The array in row-major order; a copy where it is read-only, which torch has no notion of."""
    return np.require(array, requirements=["C", "W"])


TensorTypes = dict[str, tuple[int, tuple[int, ...]]]
"""Name -> number of the element type, shape."""


def method_tensors(program: Program, name: str, *, where: str) -> tuple[TensorTypes, TensorTypes]:
    """Inputs and outputs of a graph's method, under the contract's names. Raises PackageError where it is missing."""
    known = {spec.id: spec for spec in all_graph_specs()}
    if name not in program.method_names or name not in known:
        raise PackageError(
            explain(f"{where}: methods", expected=name, got=", ".join(sorted(program.method_names)), do=_BUILD)
        )
    spec, found = known[name], program.metadata(name)
    inputs = [found.input_tensor_meta(i) for i in range(found.num_inputs())]
    outputs = [found.output_tensor_meta(i) for i in range(found.num_outputs())]
    return _named(spec.inputs, inputs), _named(spec.outputs, outputs)


def _named(specs: tuple[TensorSpec, ...], found: list[Any]) -> TensorTypes:
    names = [spec.name for spec in specs[: len(found)]]
    names += [f"tensor {index}" for index in range(len(names), len(found))]
    return {name: (int(tensor.dtype()), tuple(tensor.sizes())) for name, tensor in zip(names, found, strict=True)}


def recipe_of(program: Program) -> str:
    """The precision recipe that a program names."""
    if RECIPE_METHOD not in program.method_names:
        return "as built"
    return str(program.load_method(RECIPE_METHOD).execute([])[0])


def runtime_version() -> str:
    """The version of the installed package."""
    return importlib.metadata.version("executorch")


def _broken(what: str, expected: str, error: Exception) -> PackageError:
    return PackageError(explain(what, expected=expected, got=str(error).splitlines()[0][:300], do=_BUILD))
