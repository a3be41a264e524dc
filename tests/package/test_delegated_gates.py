"""Gates of programs for delegates: counted in every program, and `executed` says the truth for each runtime."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec import structs

from sam2lite_mobile import contract
from sam2lite_mobile.package.checks_content import check_gates
from sam2lite_mobile.package.declare import contract_constants
from sam2lite_mobile.package.interface import declare_tensors
from sam2lite_mobile.package.manifest import (
    DELEGATED,
    NOT_EXECUTED,
    GateResult,
    GraphFile,
    Manifest,
    Runtime,
    gate_name,
)
from tests.package.samples import SIZES, draft, gates


def counted(runtime: Runtime) -> tuple[GateResult, ...]:
    """What was counted in each program, all within its limit."""
    graph = gates()[0]
    return tuple(
        structs.replace(
            graph,
            kind="lowering",
            graph=spec.id,
            size=spec.size,
            tensor=None,
            measure=measure,
            measured=1.0 if measure == "delegate_calls" else 0.0,
            bound="at_most",
            limit=1.0 if measure == "delegate_calls" else 0.0,
        )
        for spec in contract.all_graph_specs(SIZES)
        for measure in DELEGATED[runtime]
    )


def manifest(runtime: Runtime) -> Manifest:
    files = tuple(
        GraphFile(
            id=spec.id,
            graph=spec.graph,
            size=spec.size,
            path=f"models/{spec.id}.pte",
            tree_sha256="c" * 64,
            bytes=1,
            files=(),
            inputs=declare_tensors(spec.inputs, {}),
            outputs=declare_tensors(spec.outputs, {}),
        )
        for spec in contract.all_graph_specs(SIZES)
    )
    found = structs.replace(draft(), runtime=runtime, executed=runtime not in NOT_EXECUTED, graphs=files)
    return structs.replace(found, gates=(*gates(), *counted(runtime)), contract=contract_constants())


def failures(found: Manifest) -> list[str]:
    return [check.what for check in check_gates(found) if not check.passed]


@pytest.mark.parametrize("runtime", DELEGATED)
def test_every_program_has_to_be_counted(runtime: Runtime) -> None:
    whole = manifest(runtime)
    assert failures(whole) == []
    for gate in counted(runtime)[:6]:
        rest = tuple(each for each in whole.gates if each != gate)
        assert len(failures(structs.replace(whole, gates=rest))) == 1, gate_name(gate)


def test_program_with_something_outside_fails() -> None:
    whole = manifest("executorch_vulkan")
    index = next(i for i, gate in enumerate(whole.gates) if gate.measure == "operations_outside")
    worse = structs.replace(whole.gates[index], measured=1.0)
    changed = (*whole.gates[:index], worse, *whole.gates[index + 1 :])
    assert failures(structs.replace(whole, gates=changed)) == [f"manifest.json gate of {gate_name(worse)}"]


@pytest.mark.parametrize("runtime", get_args(Runtime))
def test_executed_is_false_for_vulkan_alone(runtime: Runtime) -> None:
    said = structs.replace(draft(), runtime=runtime)
    right = runtime != "executorch_vulkan"
    assert "manifest.json executed" not in failures(structs.replace(said, executed=right))
    assert "manifest.json executed" in failures(structs.replace(said, executed=not right))


def test_count_of_another_runtime_is_unknown() -> None:
    other = structs.replace(draft(), gates=(*gates(), counted("executorch_vulkan")[0]))
    assert any("delegate_calls" in what for what in failures(other))
    nowhere = structs.replace(counted("executorch_vulkan")[0], graph="mask_decoder_304")
    whole = manifest("executorch_vulkan")
    assert len(failures(structs.replace(whole, gates=(*whole.gates, nowhere)))) == 1
