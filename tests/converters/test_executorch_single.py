"""Programs for the Core ML and Vulkan delegates: whole, equal to torch, the same bytes; every fault is found."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from executorch.exir import to_edge_transform_and_lower
from executorch.exir._serialize._program import deserialize_pte_binary, serialize_pte_binary
from torch import nn

from converters.capture import CapturedGraph, capture_module
from converters.executorch.coreml_delegate import canonical_model, canonical_program, lower_to_coreml
from converters.executorch.one_size import at_one_size
from converters.executorch.single import write_program
from converters.executorch.vulkan_delegate import lower_to_vulkan
from converters.executorch.vulkan_graph import VulkanGraph, fitting, missing_weights, strange_constants
from converters.gates import lowering_gate, require_passed, snr_db
from converters.limits import LOWERING_LIMITS
from converters.registry import open_target
from converters.target import GraphPrecision
from converters.worker import GraphTask, convert_and_gate
from sam2lite_mobile import contract
from sam2lite_mobile.engines.delegated_program import (
    COREML_BACKEND,
    VULKAN_BACKEND,
    DelegatedProgram,
    TensorType,
    parse_program,
    read_program,
)
from sam2lite_mobile.engines.executorch_packages import open_executorch
from sam2lite_mobile.errors import ConversionError, GateError, MissingBackendError, PackageError
from sam2lite_mobile.mlprogram.memory_folder import read_folder, write_folder
from sam2lite_mobile.package.executorch_program import interface_faults
from sam2lite_mobile.package.manifest import DELEGATED, SNR_DB
from sam2lite_mobile.quantization.policy import precision_policy
from tests.converters.conftest import SIZE, Toy

GATE = contract.graph_spec("token_gate")
TARGETS = ("executorch-coreml", "executorch-vulkan")


@pytest.fixture(scope="module")
def gate(toy: Toy) -> CapturedGraph:
    return open_target("executorch-coreml").capture(toy.student(), GATE, bank_tokens=contract.BANK_TOKENS)


@pytest.fixture(scope="module")
def programs(toy: Toy, gate: CapturedGraph, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The token gate of the toy in fp32 and fp16, by target and precision."""
    folder, found = tmp_path_factory.mktemp("programs"), {}
    for name in TARGETS:
        for level in ("fp32", "fp16"):
            path = folder / name / f"token_gate.{level}.pte"
            path.parent.mkdir(exist_ok=True)
            precision = GraphPrecision(level, precision_policy(level))
            open_target(name).convert(gate, path, precision=precision, student_size="toy")
            found[f"{name} {level}"] = path
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_program_is_whole_and_computes_what_torch_does(
    toy: Toy, gate: CapturedGraph, programs: dict[str, Path], name: str
) -> None:
    target, inputs = open_target(name), toy.inputs["token_gate"]
    reference = toy.engine.run("token_gate", inputs)
    for level, least in (("fp32", 120), ("fp16", 45)):
        path = programs[f"{name} {level}"]
        counted = target.lowering(gate, path)
        assert tuple(counted) == DELEGATED[target.runtime]
        require_passed(lowering_gate(GATE, counted, precision=level))
        outputs = target.execute(path, inputs)
        assert snr_db(reference["scores"], outputs["scores"]) > least
        assert read_program(path).recipe == level
    assert (programs[f"{name} fp16"].stat().st_size) < 0.6 * programs[f"{name} fp32"].stat().st_size
    words = {operation.form for operation in target.operations(programs[f"{name} fp16"]) if operation.weights}
    assert words == {"float16"}


@pytest.mark.parametrize("name", TARGETS)
def test_second_conversion_has_the_same_bytes(
    gate: CapturedGraph, programs: dict[str, Path], name: str, tmp_path: Path
) -> None:
    path = tmp_path / "token_gate.fp16.pte"
    precision = GraphPrecision("fp16", precision_policy("fp16"))
    open_target(name).convert(gate, path, precision=precision, student_size="toy")
    assert path.read_bytes() == programs[f"{name} fp16"].read_bytes()


@pytest.mark.parametrize("name", TARGETS)
def test_build_gates_what_is_counted_and_what_is_computed(toy: Toy, name: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", **toy.inputs["token_gate"])  # type: ignore[arg-type]
    task = GraphTask(
        target=name,
        checkpoint=toy.checkpoint,
        spec=GATE,
        bank_tokens=contract.BANK_TOKENS,
        recipe="fp16",
        ranges=None,
        inputs=tmp_path / "inputs.npz",
        folder=tmp_path,
    )
    outcome = convert_and_gate(task)
    measures = {(gate.kind, gate.measure, gate.precision) for gate in outcome.gates}
    counted = DELEGATED[open_target(name).runtime]
    levels = ("fp32", "fp16")
    assert measures == {("graph", SNR_DB, level) for level in levels} | {
        ("lowering", measure, level) for measure in counted for level in levels
    }
    assert all(gate.passed for gate in outcome.gates)
    assert outcome.model == tmp_path / "token_gate.pte"
    assert read_program(outcome.model).recipe == "fp16"


def test_canonical_model_is_that_of_its_content(programs: dict[str, Path]) -> None:
    data = programs["executorch-coreml fp16"].read_bytes()
    assert canonical_program(data, where="x") == data
    model = read_program(programs["executorch-coreml fp16"]).data
    files = read_folder(model, where="x")
    other = json.loads(files["metadata.json"]) | {"identifier": "executorch_of_another_day"}
    again = canonical_model(write_folder(files | {"metadata.json": json.dumps(other).encode()}), where="x")
    assert again == model
    fp32 = read_folder(read_program(programs["executorch-coreml fp32"]).data, where="x")
    identifiers = {json.loads(each["metadata.json"])["identifier"] for each in (files, fp32)}
    assert len(identifiers) == 2
    with pytest.raises(ConversionError, match="Core ML model of the program"):
        canonical_model(write_folder(files | {"surprise.bin": b"1"}), where="x")


def test_changed_weight_of_a_core_ml_program_is_measured(toy: Toy, programs: dict[str, Path], tmp_path: Path) -> None:
    file = deserialize_pte_binary(programs["executorch-coreml fp32"].read_bytes())
    (delegate,) = file.program.backend_delegate_data
    files = read_folder(bytes(delegate.data), where="x")
    name = next(path for path in files if path.endswith("weight.bin"))
    changed = np.frombuffer(files[name], np.float32).copy()
    weights = (np.abs(changed) > 1e-3) & (np.abs(changed) < 1e3)  # the file's own records look like other numbers
    changed[weights] *= 1.01
    delegate.data = write_folder(files | {name: changed.tobytes()})
    path = tmp_path / "token_gate.fp32.pte"
    path.write_bytes(bytes(serialize_pte_binary(file, extract_delegate_segments=True)))
    outputs = open_target("executorch-coreml").execute(path, toy.inputs["token_gate"])
    assert snr_db(toy.engine.run("token_gate", toy.inputs["token_gate"])["scores"], outputs["scores"]) < 60


def with_other_constant(path: Path, *, rename: bool) -> tuple[bytes, dict[str, bytes]]:
    """Data and constants of a Vulkan program whose first matrix is another one, under its own hash or the old one."""
    program = read_program(path)
    constants = dict(program.constants)
    key = max(constants, key=lambda each: len(constants[each]))
    other = bytes(len(constants[key]))
    new = hashlib.sha256(other).hexdigest() if rename else key
    del constants[key]
    constants[new] = other
    return program.data.replace(key.encode(), new.encode()), constants


def test_changed_weight_of_a_vulkan_program_is_found(gate: CapturedGraph, programs: dict[str, Path]) -> None:
    path = programs["executorch-vulkan fp16"]
    with pytest.raises(PackageError, match="expected the constant"):
        VulkanGraph(*with_other_constant(path, rename=False), where="x")
    graph = VulkanGraph(*with_other_constant(path, rename=True), where="x")
    weights = {name: value for name, value in gate.program.state_dict.items() if value.dim() == 2}
    assert len(missing_weights(graph, weights)) == 1
    assert strange_constants(graph, list(gate.program.state_dict.values())) == 1


def test_vulkan_graph_says_what_it_cannot_mean(programs: dict[str, Path]) -> None:
    program = read_program(programs["executorch-vulkan fp16"])
    renamed = program.data.replace(b"aten.relu.default", b"aten.relx.default")
    graph = VulkanGraph(renamed, program.constants, where="x")
    assert graph.unknown_operators() == ["aten.relx.default"]
    inputs = [torch.zeros(GATE.inputs[place].shape) for place in program.takes]
    with pytest.raises(PackageError, match=r"operators that torch knows, got aten\.relx"):
        graph.run(inputs, shader_formulas=True)
    whole = VulkanGraph(program.data, program.constants, where="x")
    with pytest.raises(PackageError, match="expected 5 inputs, got 1"):
        whole.run(inputs[:1], shader_formulas=True)
    with pytest.raises(PackageError, match="a result of shape"):
        whole.run([torch.zeros(1, 2, 3) for _ in inputs], shader_formulas=True)
    with pytest.raises(PackageError, match="a graph of the Vulkan delegate"):
        VulkanGraph(program.data[:40], program.constants, where="x")


def test_numbers_are_read_as_the_delegate_reads_them() -> None:
    dim = torch.ops.aten.cat.default._schema.arguments[1]
    bound = torch.ops.aten.clamp.default._schema.arguments[2]
    assert (fitting(dim, 0.0), type(fitting(dim, 0.0))) == (0, int)
    assert type(fitting(bound, 6.0)) is float
    assert fitting(bound, -sys.float_info.max) == -math.inf
    assert fitting(dim, None) is None


def test_value_that_was_written_over_is_not_read(programs: dict[str, Path]) -> None:
    program = read_program(programs["executorch-vulkan fp16"])
    graph = VulkanGraph(program.data, program.constants, where="x")
    first, second = graph._graph.input_ids[:2]
    graph._graph.values[second].value.mem_obj_id = graph._graph.values[first].value.mem_obj_id
    with pytest.raises(PackageError, match=f"value {first} in its memory, got value {second}"):
        graph.run([torch.zeros(GATE.inputs[place].shape) for place in program.takes], shader_formulas=True)


class Sorted(nn.Module):
    """Two layers around an operation that neither delegate has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.special.i1(self.first(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("lowered", [lower_to_coreml, lower_to_vulkan])
def test_operation_outside_of_the_delegate_is_refused_by_its_name(lowered: Callable[..., bytes]) -> None:
    program = torch.export.export(Sorted().eval(), (torch.zeros(1, 8),))
    with pytest.raises(ConversionError, match=r"sorted: operations.*1 x aten\.special_i1|sorted to ExecuTorch"):
        lowered(program, precision="fp16", recipe="fp16", where="sorted")


def test_program_without_a_delegate_misses_its_gates(gate: CapturedGraph, tmp_path: Path) -> None:
    path = tmp_path / "token_gate.fp32.pte"
    path.write_bytes(bytes(to_edge_transform_and_lower(gate.program).to_executorch().buffer))
    for name in TARGETS:
        counted = open_target(name).lowering(gate, path)
        assert counted["delegate_calls"] == 0
        assert counted["operations_outside"] > 0
        with pytest.raises(GateError, match=r"token_gate program .*operations_outside"):
            require_passed(lowering_gate(GATE, counted, precision="fp32"))


def test_program_of_the_other_delegate_misses_its_gate(
    toy: Toy, gate: CapturedGraph, programs: dict[str, Path]
) -> None:
    counted = open_target("executorch-vulkan").lowering(gate, programs["executorch-coreml fp16"])
    assert counted["operations_outside"] == 1
    with pytest.raises(PackageError, match="one call of VulkanBackend"):
        open_target("executorch-vulkan").execute(
            programs["executorch-coreml fp16"], {"keys": torch.zeros(1, 640).numpy()}
        )


def test_another_border_than_the_contracts_is_refused(gate: CapturedGraph, tmp_path: Path) -> None:
    spec = with_other_output(GATE)
    data = bytes(to_edge_transform_and_lower(gate.program).to_executorch().buffer)
    with pytest.raises(ConversionError, match=r"tensors of the program.*scores: expected array float32 \[1, 7\]"):
        write_program(tmp_path / "gate.pte", data, spec)
    assert not (tmp_path / "gate.pte").exists()


def with_other_output(spec: contract.GraphSpec) -> contract.GraphSpec:
    """The token gate with another shape of its output."""
    return replace(spec, outputs=(replace(spec.outputs[0], shape=(1, 7)),))


def test_order_of_axes_and_extra_tensors_are_faults() -> None:
    right = tuple(TensorType(6, tensor.shape, tuple(range(len(tensor.shape)))) for tensor in GATE.inputs)
    out = (TensorType(6, GATE.outputs[0].shape, (0, 1)),)

    def faults(inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> list[str]:
        return interface_faults(DelegatedProgram((), {}, inputs, outputs, b"", (), (), {}, "fp16"), GATE)

    assert faults(right, out) == []
    turned = TensorType(6, right[0].shape, (0, 2, 1))
    assert "in the order [0, 2, 1]" in faults((turned, *right[1:]), out)[0]
    assert faults(right, (*out, out[0])) == ["tensor 1: expected none, got array float32 [1, 640]"]
    assert "type 5" in faults(right, (TensorType(5, out[0].shape, (0, 1)),))[0]


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="a program of ExecuTorch with a forward"):
        parse_program(b"no program", where="x")
    with pytest.raises(PackageError, match="no plain file"):
        read_program(tmp_path / "none.pte")


def test_every_counted_measure_has_a_limit() -> None:
    assert {measure for measures in DELEGATED.values() for measure in measures} == set(LOWERING_LIMITS)


def test_graph_at_one_size_has_its_own_tables_alone(toy: Toy) -> None:
    decoder = at_one_size(toy.student().mask_decoder, SIZE)
    tables = {name for name, _ in decoder.named_buffers() if name.startswith("place_")}
    assert tables == {"place_16"}
    assert all(0 not in table.stride() for table in decoder.buffers())
    spec = contract.graph_spec("mask_decoder", SIZE)
    capture_module(decoder, spec, bank_tokens=contract.BANK_TOKENS)
    with pytest.raises(AttributeError):
        at_one_size(toy.student().mask_decoder, 512).get_buffer("place_16")


def test_vulkan_package_is_not_opened_and_the_message_says_why(programs: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "token_gate.pte").write_bytes(programs["executorch-vulkan fp16"].read_bytes())
    with pytest.raises(MissingBackendError, match="VulkanBackend, whose shaders need a GPU"):
        open_executorch(tmp_path, threads=1)
    (tmp_path / "token_gate.pte").write_bytes(programs["executorch-coreml fp16"].read_bytes())
    with pytest.raises(PackageError, match="programs in"):  # it is Core ML's, and the other graphs are missing
        open_executorch(tmp_path, threads=1)


def test_backends_have_the_names_that_executorch_gives_them(programs: dict[str, Path]) -> None:
    assert read_program(programs["executorch-coreml fp16"]).backends == (COREML_BACKEND,)
    assert read_program(programs["executorch-vulkan fp16"]).backends == (VULKAN_BACKEND,)
