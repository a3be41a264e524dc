"""The checks of what a package says: its constants, graphs, tensors and gates against the contract of this version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from sam2lite_mobile import contract
from sam2lite_mobile.contract import GraphSpec, TensorSpec
from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package.declare import contract_constants
from sam2lite_mobile.package.interface import read_interface, type_in_words
from sam2lite_mobile.package.manifest import (
    DELEGATED,
    JF_LOST,
    MANIFEST_NAME,
    NOT_EXECUTED,
    WORST_MASK_IOU,
    GateResult,
    GraphFile,
    Manifest,
    Runtime,
    Tensor,
    gate_name,
)
from sam2lite_mobile.package.report import Check, compare, failed, passed

_OTHER_VERSION = "build the package with this version of sam2lite-mobile, or verify it with its own"
_BUILD_AGAIN = "build the package again"


def check_contract(manifest: Manifest) -> Iterator[Check]:
    """Every constant equals the contract's; the sizes, the budget and the defaults are ones that the contract has."""
    budget = manifest.contract.bank_tokens
    lowest, highest = contract.BANK_TOKENS_MIN, contract.BANK_TOKENS_MAX
    yield _within("contract", f"{MANIFEST_NAME} contract.bank_tokens", budget, lowest, highest)
    expected = msgspec.structs.asdict(contract_constants(bank_tokens=budget))
    for name, value in msgspec.structs.asdict(manifest.contract).items():
        yield compare(
            "contract", f"{MANIFEST_NAME} contract.{name}", expected=expected[name], got=value, do=_OTHER_VERSION
        )
    known = tuple(size for size in contract.SIZES if size in manifest.sizes)
    yield compare("contract", f"{MANIFEST_NAME} sizes", expected=known, got=manifest.sizes, do=_OTHER_VERSION)
    if manifest.defaults.size not in manifest.sizes:
        yield failed(
            "contract",
            f"{MANIFEST_NAME} defaults.size",
            expected=f"one of {manifest.sizes}",
            got=manifest.defaults.size,
            do=_BUILD_AGAIN,
        )
    window = manifest.defaults.window
    yield _within("contract", f"{MANIFEST_NAME} defaults.window", window, contract.WINDOW_MIN, contract.WINDOW_MAX)


def check_graphs(folder: Path, manifest: Manifest) -> Iterator[Check]:
    """Each graph of the contract is there once; its tensors are the contract's, in the manifest and in the package.

    Call it where `check_contract` passed and the hashes fit: a changed package is not parsed.
    """
    specs = expected_specs(manifest)
    yield compare(
        "graphs",
        f"{MANIFEST_NAME} graphs",
        expected=[spec.id for spec in specs],
        got=[graph.id for graph in manifest.graphs],
        do=_BUILD_AGAIN,
    )
    by_id = {spec.id: spec for spec in specs}
    for graph in manifest.graphs:
        spec = by_id.get(graph.id)
        if spec is None:
            continue  # the comparison above has named it
        yield compare("graphs", f"{graph.id} graph", expected=spec.graph, got=graph.graph, do=_BUILD_AGAIN)
        yield compare("graphs", f"{graph.id} size", expected=spec.size, got=graph.size, do=_BUILD_AGAIN)
        yield from _check_declared(graph, spec)
        yield from _check_package(folder, graph, manifest.runtime)


def expected_specs(manifest: Manifest) -> tuple[GraphSpec, ...]:
    """The graphs that a package of these sizes and this budget holds, in the contract's order."""
    return contract.all_graph_specs(manifest.sizes, bank_tokens=manifest.contract.bank_tokens)


def check_gates(manifest: Manifest) -> Iterator[Check]:
    """Every gate holds its limit, and none is missing: each output of each graph, a chained clip at each size, J&F.

    Only gates at the shipped precision count as present; the ones of the fp32 artifact come on top. A program for a
    delegate was counted as well. `executed` is false where, and only where, nothing could run the files.
    """
    yield compare(
        "gates",
        f"{MANIFEST_NAME} executed",
        expected=manifest.runtime not in NOT_EXECUTED,
        got=manifest.executed,
        do=_BUILD_AGAIN,
    )
    graphs = {graph.id: {tensor.name for tensor in graph.outputs} for graph in manifest.graphs}
    for gate in manifest.gates:
        yield _check_gate(gate)
        if not _is_known(gate, graphs, manifest):
            yield failed(
                "gates",
                f"{MANIFEST_NAME} {gate_name(gate)}",
                expected="a graph, tensor or size of this package",
                got="another",
                do=_BUILD_AGAIN,
            )
    recipe = manifest.precision.recipe
    shipped = [gate for gate in manifest.gates if gate.precision == recipe]
    outputs = {(gate.graph, gate.tensor) for gate in shipped if gate.kind == "graph"}
    clips = {gate.size for gate in shipped if gate.kind == "clip" and gate.measure == WORST_MASK_IOU}
    for graph_id, tensors in graphs.items():
        for tensor in sorted(tensors):
            yield _present(f"gate of {graph_id} {tensor} ({recipe})", (graph_id, tensor) in outputs)
    counted = {(gate.graph, gate.measure) for gate in shipped if gate.kind == "lowering"}
    for measure in DELEGATED.get(manifest.runtime, ()):
        for graph_id in graphs:
            yield _present(f"gate of {graph_id} {measure} ({recipe})", (graph_id, measure) in counted)
    for size in manifest.sizes:
        yield _present(f"gate of a chained clip at {size} px ({recipe})", size in clips)
    yield _present(f"gate of J&F ({recipe})", any(gate.measure == JF_LOST for gate in shipped))


def _is_known(gate: GateResult, graphs: Mapping[str, set[str]], manifest: Manifest) -> bool:
    """Whether a gate is of a graph, tensor or size that the package has."""
    if gate.kind == "clip":
        return gate.size in manifest.sizes
    tensors = graphs.get(gate.graph or "")
    if gate.kind == "lowering":
        return tensors is not None and gate.measure in DELEGATED.get(manifest.runtime, ())
    return gate.tensor in (tensors or set())


def _check_declared(graph: GraphFile, spec: GraphSpec) -> Iterator[Check]:
    """The manifest's tensors against the contract's, in call order."""
    for side, tensors, specs in (("inputs", graph.inputs, spec.inputs), ("outputs", graph.outputs, spec.outputs)):
        yield compare(
            "tensors",
            f"{graph.id} {side}",
            expected=[tensor.name for tensor in specs],
            got=[tensor.name for tensor in tensors],
            do=_OTHER_VERSION,
        )
        by_name = {tensor.name: tensor for tensor in tensors}
        for tensor_spec in specs:
            if tensor_spec.name in by_name:
                yield compare(
                    "tensors",
                    f"{graph.id} {tensor_spec.name}",
                    expected=_spec_in_words(tensor_spec, by_name[tensor_spec.name]),
                    got=_tensor_in_words(by_name[tensor_spec.name]),
                    do=_OTHER_VERSION,
                )


def _check_package(folder: Path, graph: GraphFile, runtime: Runtime) -> Iterator[Check]:
    """The manifest's tensors against those that the graph's own file declares."""
    try:
        found_inputs, found_outputs = read_interface(folder / graph.path, runtime, graph.id)
    except PackageError as error:
        yield failed("tensors", graph.path, expected="a readable graph", got=error, do=_BUILD_AGAIN)
        return
    for side, tensors, found in (("inputs", graph.inputs, found_inputs), ("outputs", graph.outputs, found_outputs)):
        yield compare(
            "tensors",
            f"{graph.path} {side}",
            expected={tensor.name: type_in_words(tensor) for tensor in sorted(tensors, key=lambda t: t.name)},
            got=dict(sorted(found.items())),
            do="convert the graph with the tensors of the contract",
        )


def _spec_in_words(spec: TensorSpec, tensor: Tensor) -> str:
    """The contract's tensor, spelled for the kind that the package takes: a picture may stand for 0..255 RGB only."""
    image_allowed = spec.name == "image"
    dtype = "uint8" if tensor.kind == "image" and image_allowed else "float32"
    kind = tensor.kind if image_allowed else "array"
    return f"{kind} {dtype} {list(spec.shape)} {_range(spec.low, spec.high)} {spec.meaning}"


def _tensor_in_words(tensor: Tensor) -> str:
    return f"{tensor.kind} {tensor.dtype} {list(tensor.shape)} {_range(tensor.low, tensor.high)} {tensor.meaning}"


def _range(low: float | None, high: float | None) -> str:
    return f"{'' if low is None else float(low)}..{'' if high is None else float(high)}"


def _check_gate(gate: GateResult) -> Check:
    holds = gate.measured >= gate.limit if gate.bound == "at_least" else gate.measured <= gate.limit
    what = f"{MANIFEST_NAME} gate of {gate_name(gate)}"
    bound = f"{gate.bound.replace('_', ' ')} {gate.limit}"
    if holds and gate.passed:
        return passed("gates", what, expected=bound)
    got = f"{gate.measured}, recorded as {'passed' if gate.passed else 'failed'}"
    return failed("gates", what, expected=bound, got=got, do="do not ship it: find what broke the graph, build again")


def _present(what: str, there: bool) -> Check:
    if there:
        return passed("gates", what, expected="a result")
    return failed("gates", f"{MANIFEST_NAME} {what}", expected="a result", got="none", do="run the gate, build again")


def _within(group: str, what: str, value: int, low: int, high: int) -> Check:
    if low <= value <= high:
        return passed(group, what, expected=f"{low} to {high}")
    return failed(group, what, expected=f"{low} to {high}", got=value, do=_OTHER_VERSION)
