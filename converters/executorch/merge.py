"""Many programs of one method into one program of many methods, in which equal weights lie once.

XNNPACK's delegate names each constant by the SHA-256 of its bytes and keeps it in the program's named data
(executorch/backends/xnnpack/operators/node_visitor.py), so the sizes of a graph, which have the same weights, share
them as soon as they lie in one file. Lowering all methods in one call shares them too, but needs them all in one
process; merged, each is converted and compared on its own, and its instructions and constants are taken over as they
are.
"""

from __future__ import annotations

from collections.abc import Mapping

from executorch.exir._serialize._named_data_store import NamedDataStore
from executorch.exir._serialize._program import PTEFile, deserialize_pte_binary, serialize_pte_binary
from executorch.exir.schema import BackendDelegateInlineData, Buffer, ExecutionPlan, Program, SubsegmentOffsets, Tensor

from sam2lite_mobile.engines.delegated_program import RECIPE_METHOD
from sam2lite_mobile.errors import ConversionError, explain

SOURCE_METHOD = "forward"
_ALIGNMENT = 16
"""Bytes; XNNPACK's own for constants. Each lies in a segment, which is aligned to 128."""


def merge(programs: Mapping[str, bytes], *, recipe_of: str) -> bytes:
    """One program whose methods are the `forward` of each given one, by its name, and `get_recipe`.

    programs: method name -> .pte. recipe_of: the one whose recipe it gives. The same programs in the same order give
    the same bytes. Raises ConversionError for a program with a state, which no graph of ours has.
    """
    parts = {name: deserialize_pte_binary(data) for name, data in programs.items()}
    store, constants = NamedDataStore(), _Constants()
    plans: list[ExecutionPlan] = []
    delegates: list[BackendDelegateInlineData] = []
    for name, part in parts.items():
        if part.mutable_data:
            raise ConversionError(
                explain(f"{name}: states", expected="none", got=len(part.mutable_data), do="pass them as tensors")
            )
        plan = _plan(part.program, SOURCE_METHOD)
        plan.name = name
        for delegate in plan.delegates:
            data = part.program.backend_delegate_data[delegate.processed.index]
            delegate.processed.index = len(delegates)
            delegates.append(data)
        constants.take(plan, part.program.constant_buffer)
        plans.append(plan)
        if part.named_data is not None:
            for key in sorted(part.named_data.pte_data):
                entry = part.named_data.pte_data[key]
                store.add_named_data(key, part.named_data.buffers[entry.buffer_index], alignment=_ALIGNMENT)
    plans.append(_plan(parts[recipe_of].program, RECIPE_METHOD))
    merged = Program(
        version=parts[recipe_of].program.version,
        execution_plan=plans,
        constant_buffer=constants.buffers,
        backend_delegate_data=delegates,
        segments=[],
        constant_segment=SubsegmentOffsets(segment_index=0, offsets=[]),
        named_data=[],
    )
    file = PTEFile(program=merged, named_data=store.get_named_data_store_output())
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


class _Constants:
    """The constants that the delegates of several programs are handed at each call, equal ones once.

    XNNPACK's delegate holds the weights of layers; what is added or multiplied lies in the program.
    """

    def __init__(self) -> None:
        self.buffers = [Buffer(storage=b"")]  # index 0 means: no constant
        self._places: dict[bytes, int] = {}

    def take(self, plan: ExecutionPlan, buffers: list[Buffer]) -> None:
        """Let the tensors of a plan, which point into `buffers`, point to the same bytes here."""
        for value in plan.values:
            tensor = value.val
            if not isinstance(tensor, Tensor) or tensor.data_buffer_idx == 0:
                continue
            data = buffers[tensor.data_buffer_idx].storage
            if data not in self._places:
                self._places[data] = len(self.buffers)
                self.buffers.append(Buffer(storage=data))
            tensor.data_buffer_idx = self._places[data]


def _plan(program: Program, method: str) -> ExecutionPlan:
    return next(plan for plan in program.execution_plan if plan.name == method)
