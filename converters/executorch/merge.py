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
from executorch.exir.schema import BackendDelegateInlineData, ExecutionPlan, Program, SubsegmentOffsets

from sam2lite_mobile.engines.executorch_engine import RECIPE_METHOD
from sam2lite_mobile.errors import ConversionError, explain

SOURCE_METHOD = "forward"
_ALIGNMENT = 16
"""Bytes; XNNPACK's own for constants. Each lies in a segment, which is aligned to 128."""


def merge(programs: Mapping[str, bytes], *, recipe_of: str) -> bytes:
    """One program whose methods are the `forward` of each given one, by its name, and `get_recipe`.

    programs: method name -> .pte with everything in one delegate. recipe_of: the one whose recipe it gives. The same
    programs in the same order give the same bytes.

    Raises ConversionError for a program with constants outside of its delegate, whose indices would clash.
    """
    plans: list[ExecutionPlan] = []
    delegates: list[BackendDelegateInlineData] = []
    store = NamedDataStore()
    parts = {name: deserialize_pte_binary(data) for name, data in programs.items()}
    for name, part in parts.items():
        _require_mergeable(name, part)
        plan = _plan(part.program, SOURCE_METHOD)
        plan.name = name
        for delegate in plan.delegates:
            data = part.program.backend_delegate_data[delegate.processed.index]
            delegate.processed.index = len(delegates)
            delegates.append(data)
        plans.append(plan)
        if part.named_data is not None:
            for key in sorted(part.named_data.pte_data):
                entry = part.named_data.pte_data[key]
                store.add_named_data(key, part.named_data.buffers[entry.buffer_index], alignment=_ALIGNMENT)
    first = next(iter(parts.values())).program
    plans.append(_plan(parts[recipe_of].program, RECIPE_METHOD))
    merged = Program(
        version=first.version,
        execution_plan=plans,
        constant_buffer=first.constant_buffer,
        backend_delegate_data=delegates,
        segments=[],
        constant_segment=SubsegmentOffsets(segment_index=0, offsets=[]),
        named_data=[],
    )
    file = PTEFile(program=merged, named_data=store.get_named_data_store_output())
    return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


def _require_mergeable(name: str, part: PTEFile) -> None:
    constants = sum(len(buffer.storage) > 0 for buffer in part.program.constant_buffer)
    if constants or part.mutable_data:
        raise ConversionError(
            explain(
                f"{name}: constants outside of the delegate",
                expected="none",
                got=f"{constants} constants, {len(part.mutable_data or [])} states",
                do="write the module so that the delegate takes all of it",
            )
        )


def _plan(program: Program, method: str) -> ExecutionPlan:
    return next(plan for plan in program.execution_plan if plan.name == method)
