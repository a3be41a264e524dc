"""Reading the program of an ExecuTorch package without running it: what its methods take and give."""

from __future__ import annotations

from pathlib import Path

from sam2lite_mobile.errors import MissingBackendError, PackageError, explain

PROGRAM_MAX_BYTES = 512 * 2**20
"""A program of all sizes in float32 is below 64 MiB."""
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
        raise MissingBackendError(
            explain(
                "ExecuTorch package",
                expected=f"the package {error.name}",
                got="none",
                do="pip install 'sam2lite-mobile[executorch]'",
            )
        ) from error
    inputs, outputs = method_tensors(open_program(path), graph_id, where=str(path))
    return _types(inputs), _types(outputs)


def _types(tensors: dict[str, tuple[int, tuple[int, ...]]]) -> dict[str, str]:
    return {
        name: f"array {'float32' if dtype == _FLOAT32 else f'type {dtype}'} {list(shape)}"
        for name, (dtype, shape) in tensors.items()
    }


def _broken(path: Path, expected: str, got: str) -> PackageError:
    return PackageError(explain(str(path), expected=expected, got=got, do="convert the graph again"))
