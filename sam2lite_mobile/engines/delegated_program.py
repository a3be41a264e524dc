"""Reading a program of ExecuTorch that is one call of a delegate, without the delegate: its border and its data.

ExecuTorch's Linux build has neither the Core ML nor the Vulkan delegate, so a program for them loads and does not run;
what it holds can be read all the same, with ExecuTorch's own Python classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam2lite_mobile.errors import PackageError, explain

METHOD = "forward"
"""The only method of such a program that computes: an app's `module.forward(...)`."""
RECIPE_METHOD = "get_recipe"
"""A method without inputs that gives the precision recipe of a program as text."""
COREML_BACKEND, VULKAN_BACKEND = "CoreMLBackend", "VulkanBackend"
"""What ExecuTorch calls the delegates."""
MAX_BYTES = 512 * 2**20
"""A graph of the largest student in float32 is below 128 MiB."""
_FLOAT32 = 6
"""ScalarType::Float in executorch/runtime/core/portable_type/scalar_type.h."""


@dataclass(frozen=True)
class TensorType:
    """Type of a tensor at the border of a method: number of the element type, shape, and the order of its axes."""

    scalar_type: int
    shape: tuple[int, ...]
    dim_order: tuple[int, ...]

    @property
    def in_words(self) -> str:
        """`array float32 [1, 8, 2]`; what is not row-major says so."""
        dtype = "float32" if self.scalar_type == _FLOAT32 else f"type {self.scalar_type}"
        order = "" if self.dim_order == tuple(range(len(self.shape))) else f" in the order {list(self.dim_order)}"
        return f"array {dtype} {list(self.shape)}{order}"


@dataclass(frozen=True)
class DelegatedProgram:
    """What a program holds.

    backends: of its delegate calls, in order. outside: operations that are none, by name. inputs, outputs: of the
    method, in call order. data: of the first delegate. takes, gives: for each argument of that delegate the method's
    input or output that it is, by place. constants: named data, by name. recipe: the precision that it names.
    """

    backends: tuple[str, ...]
    outside: Mapping[str, int]
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    data: bytes
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    constants: Mapping[str, bytes]
    recipe: str

    def require_backend(self, backend: str, *, where: str) -> None:
        """Raise PackageError unless all of the program is one call of this delegate, with the method's own tensors."""
        listed = ", ".join(f"{count} x {name}" for name, count in sorted(self.outside.items())) or "nothing"
        whole = len(self.takes) == len(self.inputs) and len(self.gives) == len(self.outputs)
        if self.backends != (backend,) or self.outside or not whole:
            raise _broken(
                where,
                f"one call of {backend} and nothing else",
                f"calls of {', '.join(self.backends) or 'no delegate'}, {listed} outside",
            )


def read_program(path: Path) -> DelegatedProgram:
    """The program at `path`. Raises PackageError for a file that is too large, or no program with a `forward`."""
    if not path.is_file() or path.is_symlink():
        raise _broken(str(path), "a program", "no plain file")
    if path.stat().st_size > MAX_BYTES:
        raise _broken(str(path), f"at most {MAX_BYTES} bytes", "more")
    return parse_program(path.read_bytes(), where=str(path))


def parse_program(data: bytes, *, where: str) -> DelegatedProgram:
    """As `read_program`, of bytes at hand."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    try:
        return _read(deserialize_pte_binary(data))
    except Exception as error:  # flatc, JSON and ExecuTorch's dataclasses each fail in their own way
        raise _broken(where, "a program of ExecuTorch with a forward", _line(error)) from error


def _read(file: Any) -> DelegatedProgram:
    plans = {plan.name: plan for plan in file.program.execution_plan}
    plan = plans[METHOD]
    instructions = [each.instr_args for chain in plan.chains for each in chain.instructions]
    calls = [each for each in instructions if type(each).__name__ == "DelegateCall"]
    outside: Counter[str] = Counter()
    for each in instructions:
        kind = type(each).__name__
        if kind == "KernelCall":
            outside[plan.operators[each.op_index].name] += 1
        elif kind != "DelegateCall":
            outside[kind] += 1
    data, takes, gives = b"", (), ()
    if calls:
        delegate = plan.delegates[calls[0].delegate_index]
        data = bytes(file.program.backend_delegate_data[delegate.processed.index].data)
        arguments = list(calls[0].args)
        takes = tuple(plan.inputs.index(value) for value in arguments if value in plan.inputs)
        gives = tuple(plan.outputs.index(value) for value in arguments if value in plan.outputs)
    constants: dict[str, bytes] = {}
    if file.named_data is not None:
        stored = file.named_data
        constants = {key: bytes(stored.buffers[entry.buffer_index]) for key, entry in stored.pte_data.items()}
    recipe = "as built"
    if RECIPE_METHOD in plans:
        recipe = str(plans[RECIPE_METHOD].values[plans[RECIPE_METHOD].outputs[0]].val.string_val)
    return DelegatedProgram(
        backends=tuple(plan.delegates[call.delegate_index].id for call in calls),
        outside=dict(outside),
        inputs=tuple(_type(plan, value) for value in plan.inputs),
        outputs=tuple(_type(plan, value) for value in plan.outputs),
        data=data,
        takes=takes,
        gives=gives,
        constants=constants,
        recipe=recipe,
    )


def _type(plan: Any, value: int) -> TensorType:
    tensor = plan.values[value].val
    return TensorType(int(tensor.scalar_type), tuple(tensor.sizes), tuple(tensor.dim_order))


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _broken(where: str, expected: str, got: str) -> PackageError:
    return PackageError(explain(where, expected=expected, got=got, do="convert the graph again with this version"))
