"""Lowering: an exported graph to one ExecuTorch program, and the count of what the delegate did not take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from executorch.exir import EdgeCompileConfig, EdgeProgramManager, to_edge_transform_and_lower

from converters.executorch.quantize import quiet
from sam2lite_mobile.engines.delegated_program import RECIPE_METHOD
from sam2lite_mobile.errors import ConversionError, explain

_UNCHECKED = EdgeCompileConfig(_check_ir_validity=False)
"""ExecuTorch's own checks of the graph between its passes double the time (memory encoder of a toy: 8.8 s and 3.8 s of
processor time), and the bytes are the same. What comes out is executed and compared."""
_DELEGATE_CALL = "executorch_call_delegate"
_FREE = ("getitem",)
"""Taking one of a delegate's outputs is no instruction of the program."""


@dataclass(frozen=True)
class Placement:
    """Where the operations of a lowered graph run: calls of the delegate, and operations outside of it by name."""

    delegate_calls: int
    outside: dict[str, int]

    def in_words(self) -> str:
        """`1 delegate call, nothing outside`."""
        listed = ", ".join(f"{count} x {name}" for name, count in sorted(self.outside.items()))
        return f"{self.delegate_calls} delegate calls, {listed or 'nothing'} outside"


def lower(
    program: torch.export.ExportedProgram, partitioners: Sequence[Any], *, recipe: str, where: str
) -> EdgeProgramManager:
    """The program with everything that the partitioners take in delegates, and a method that gives the recipe's name.

    where: for messages.

    Raises ConversionError where an operation has no counterpart.
    """
    with quiet():
        try:
            return to_edge_transform_and_lower(
                program,
                partitioner=list(partitioners),
                constant_methods={RECIPE_METHOD: recipe},
                compile_config=_UNCHECKED,
            )
        except (RuntimeError, ValueError, TypeError, NotImplementedError, AssertionError, KeyError) as error:
            raise _failed(where, error) from error


def placement(edge: EdgeProgramManager) -> Placement:
    """Where the operations of a lowered program run."""
    calls = [node for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    names = Counter(str(getattr(node.target, "__name__", node.target)) for node in calls)
    delegate_calls = names.pop(_DELEGATE_CALL, 0)
    return Placement(delegate_calls, {name: count for name, count in names.items() if name not in _FREE})


def require_delegated(found: Placement, *, where: str) -> None:
    """Raise ConversionError unless a graph is one call of the delegate and nothing else."""
    if found.delegate_calls != 1 or found.outside:
        raise ConversionError(
            explain(
                f"{where}: operations",
                expected="all in one call of the delegate",
                got=found.in_words(),
                do="write the module with operations that the delegate takes (converters/executorch/reauthored.py)",
            )
        )


def program_bytes(edge: EdgeProgramManager, *, where: str) -> bytes:
    """The .pte of a lowered program. Raises ConversionError where ExecuTorch refuses it."""
    with quiet():
        try:
            return bytes(edge.to_executorch().buffer)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            raise _failed(where, error) from error


def _failed(where: str, error: Exception) -> ConversionError:
    lines = str(error).splitlines() or [type(error).__name__]
    return ConversionError(
        explain(
            f"{where} to ExecuTorch",
            expected="a program",
            got=lines[0][:300],
            do="write the module with operations that the delegate takes (converters/executorch/reauthored.py)",
        )
    )
