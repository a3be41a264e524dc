"""Reading the program of an ExecuTorch package without running it: what its methods take and give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sam2lite_mobile.contract import GraphSpec, TensorSpec, all_graph_specs
from sam2lite_mobile.engines.delegated_program import COREML_BACKEND, VULKAN_BACKEND, DelegatedProgram, TensorType
from sam2lite_mobile.engines.delegated_program import read_program as read_delegated
from sam2lite_mobile.errors import MissingBackendError, PackageError, explain
from sam2lite_mobile.package.manifest import Runtime

PROGRAM_MAX_BYTES = 512 * 2**20
"""A program of all sizes in float32 is below 64 MiB."""
BACKENDS: Mapping[Runtime, str] = {"executorch_coreml": COREML_BACKEND, "executorch_vulkan": VULKAN_BACKEND}
"""What ExecuTorch calls the delegate of a runtime."""
_FLOAT32 = 6
"""ScalarType::Float in executorch/runtime/core/portable_type/scalar_type.h."""


def read_executorch_interface(path: Path, graph_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """Inputs and outputs of a program's method: name -> type in words, as `interface.type_in_words` spells them.

    A method's tensors have an order and no names: they get those of the contract. Raises PackageError where the program
    cannot be read, is too large, or has no such method.
    """
    if not path.is_file() or path.is_symlink():
        raise _broken(path, "a program", "no plain file")
    if path.stat().st_size > PROGRAM_MAX_BYTES:
        raise _broken(path, f"at most {PROGRAM_MAX_BYTES} bytes", "more")
    try:
        from sam2lite_mobile.engines.executorch_engine import method_tensors, open_program
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    inputs, outputs = method_tensors(open_program(path), graph_id, where=str(path))
    return _types(inputs), _types(outputs)


def read_delegated_interface(path: Path, runtime: Runtime, graph_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """As `read_executorch_interface`, of a program of one graph that is one call of the runtime's delegate."""
    try:
        program = read_delegated(path)
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    program.require_backend(BACKENDS[runtime], where=str(path))
    spec = next((spec for spec in all_graph_specs() if spec.id == graph_id), None)
    if spec is None:
        raise _broken(path, "a graph of the contract", graph_id)
    return _named(spec.inputs, program.inputs), _named(spec.outputs, program.outputs)


def interface_faults(program: DelegatedProgram, spec: GraphSpec) -> list[str]:
    """What in a program's border is not the contract's: one text for each tensor, empty where all of it is."""
    faults = []
    for specs, found in ((spec.inputs, program.inputs), (spec.outputs, program.outputs)):
        expected = {tensor.name: f"array float32 {list(tensor.shape)}" for tensor in specs}
        got = _named(specs, found)
        for name in dict.fromkeys((*expected, *got)):
            if expected.get(name) != got.get(name):
                faults.append(f"{name}: expected {expected.get(name, 'none')}, got {got.get(name, 'none')}")
    return faults


def _named(specs: tuple[TensorSpec, ...], found: tuple[TensorType, ...]) -> dict[str, str]:
    """Types in words under the contract's names; tensors beyond those of the contract get their number."""
    names = [spec.name for spec in specs[: len(found)]]
    names += [f"tensor {index}" for index in range(len(names), len(found))]
    return {name: tensor.in_words for name, tensor in zip(names, found, strict=True)}


def _types(tensors: dict[str, tuple[int, tuple[int, ...]]]) -> dict[str, str]:
    return {
        name: f"array {'float32' if dtype == _FLOAT32 else f'type {dtype}'} {list(shape)}"
        for name, (dtype, shape) in tensors.items()
    }


def _missing(error: ModuleNotFoundError) -> MissingBackendError:
    return MissingBackendError(
        explain(
            "ExecuTorch package",
            expected=f"the package {error.name}",
            got="none",
            do="pip install 'sam2lite-mobile[executorch]'",
        )
    )


def _broken(path: Path, expected: str, got: str) -> PackageError:
    return PackageError(explain(str(path), expected=expected, got=got, do="convert the graph again"))
