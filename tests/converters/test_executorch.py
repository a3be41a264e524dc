"""ExecuTorch: graphs on the delegate whole, integers as in training, weights once, the same bytes, samples to check."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from executorch.exir._serialize._program import deserialize_pte_binary
from executorch.exir.schema import Buffer
from executorch.extension.pybindings._C import _load_bundled_program_from_buffer
from torch import nn

from converters.capture import CapturedGraph
from converters.executorch.lower import Placement, lower, placement, program_bytes, require_delegated
from converters.executorch.merge import SOURCE_METHOD, merge
from converters.executorch.norms import LinearNorm, LinearUnit, along_both
from converters.executorch.quantize import PolicyQuantizer, activation_spec, layer_of, quantize
from converters.executorch.reauthored import DelegatedMemoryRead, reauthored
from converters.executorch.samples import write_samples
from converters.gates import snr_db
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.contract import EXECUTORCH_PROGRAM, EXECUTORCH_SAMPLES
from sam2lite_mobile.engines.delegated_program import RECIPE_METHOD
from sam2lite_mobile.engines.executorch_engine import load_method, open_program, recipe_of
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import ContractError, ConversionError
from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.fake_quant import fake_quantized
from sam2lite_mobile.quantization.policy import precision_policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import ActivationRange
from sam2lite_mobile.student.constants import area_matrix
from sam2lite_mobile.student.memory_attention import MemoryAttention
from sam2lite_mobile.student.memory_encoder import pool, unit
from tests.converters.conftest import SIZE, Capture, Ranges, Toy

POLICY = precision_policy("w8a8")
QUICK = ("prompt_encoder", "token_gate")
"""Graphs that lower in seconds; the decoder of a toy takes most of a minute."""


@pytest.fixture(scope="module")
def captured(toy: Toy) -> Capture:
    """Gives a graph of the toy as it is written for this runtime, traced once."""

    @functools.cache
    def captured_graph(graph: str) -> CapturedGraph:
        spec = contract.graph_spec(graph, SIZE)
        return open_target("executorch").capture(toy.student(), spec, bank_tokens=contract.BANK_TOKENS)

    return captured_graph


@pytest.fixture(scope="module")
def programs(captured: Capture, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The quick graphs in fp32."""
    folder, target = tmp_path_factory.mktemp("programs"), open_target("executorch")
    paths = {contract.graph_id(graph, SIZE): folder / f"{contract.graph_id(graph, SIZE)}.fp32.pte" for graph in QUICK}
    for graph, path in zip(QUICK, paths.values(), strict=True):
        precision = GraphPrecision("fp32", precision_policy("fp32"))
        target.convert(captured(graph), path, precision=precision, student_size="toy")
    return paths


@pytest.mark.parametrize("size", [256, 352])
@pytest.mark.parametrize("graph", contract.GRAPHS)
def test_reauthored_graph_has_the_outputs_of_the_students(toy: Toy, graph: str, size: int) -> None:
    student = toy.student()
    spec = contract.graph_spec(graph, size)
    generator = torch.Generator().manual_seed(1)
    arguments = []
    for tensor in spec.inputs:
        if size == SIZE:
            arguments.append(torch.from_numpy(toy.inputs[spec.id][tensor.name]))
        elif tensor.low is not None and tensor.low > contract.MASKED and tensor.high is not None:
            arguments.append(torch.rand(tensor.shape, generator=generator) * (tensor.high - tensor.low) + tensor.low)
        else:
            arguments.append(torch.randn(tensor.shape, generator=generator))
    with torch.no_grad():
        expected, got = (
            as_tuple(module(*arguments)) for module in (student.graph(graph), reauthored(student.graph(graph), size))
        )
    for tensor, before, after in zip(spec.outputs, expected, got, strict=True):
        assert snr_db(before.numpy(), after.numpy()) >= 70, tensor.name


def as_tuple(outputs: Any) -> tuple[torch.Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def test_linear_pieces_equal_what_they_stand_for() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 7, 12, generator=generator)
    norm = nn.LayerNorm(12)
    nn.init.normal_(norm.weight, generator=generator)
    nn.init.normal_(norm.bias, generator=generator)
    with torch.no_grad():
        assert snr_db(norm(x).numpy(), LinearNorm.from_torch(norm)(x).numpy()) > 110
        assert snr_db((unit(x) * 3).numpy(), LinearUnit(12, torch.tensor(3.0))(x).numpy()) > 110
        maps, rows = torch.randn(1, 2, 8, 8, generator=generator), torch.from_numpy(area_matrix(4, 8))
        assert snr_db(pool(maps, rows).numpy(), along_both(maps, rows).numpy()) > 110


def test_memory_read_equals_the_students_for_an_empty_bank_too(toy: Toy) -> None:
    read = toy.student().mask_decoder.read_anchors
    assert isinstance(read, MemoryAttention)
    generator = torch.Generator().manual_seed(0)
    tokens, keys, values = (torch.randn(1, n, 256, generator=generator) for n in (256, 384, 384))
    for mask in (torch.zeros(1, 384), torch.full((1, 384), contract.MASKED)):
        with torch.no_grad():
            expected = read(tokens, keys, values, torch.zeros(1, 384), mask).readout
            got = DelegatedMemoryRead.from_torch(read, SIZE)(tokens, keys, values, torch.zeros(1, 384), mask)
        assert snr_db(expected.numpy(), got.numpy()) >= 70


def test_every_layer_of_the_student_keeps_its_name(toy: Toy, captured: Capture) -> None:
    found = {
        layer
        for graph in contract.GRAPHS
        for node in captured(graph).program.module().graph.nodes
        if (layer := layer_of(node, graph)) is not None
    }
    assert found == set(quantizable_layers(toy.student()))


def test_graphs_are_one_call_of_the_delegate_and_match_torch(toy: Toy, programs: dict[str, Path]) -> None:
    target = open_target("executorch")
    for graph_id, path in programs.items():
        reference, outputs = toy.engine.run(graph_id, toy.inputs[graph_id]), target.execute(path, toy.inputs[graph_id])
        assert {name: value.shape for name, value in outputs.items()} == {n: v.shape for n, v in reference.items()}
        assert all(snr_db(reference[name], outputs[name]) > 100 for name in outputs)


class Sorted(nn.Module):
    """Two layers around an operation that XNNPACK does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.cumsum(self.first(x), -1))  # type: ignore[no-any-return]


def test_operation_outside_of_the_delegate_is_refused_by_its_name() -> None:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    program = torch.export.export(Sorted().eval(), (torch.zeros(1, 8),))
    found = placement(lower(program, [XnnpackPartitioner()], recipe="fp32", where="sorted"))
    assert found.delegate_calls == 2
    assert found.outside == {"aten.cumsum.default": 1}
    with pytest.raises(ConversionError, match=r"sorted: operations.*2 delegate calls, 1 x aten\.cumsum\.default"):
        require_delegated(found, where="sorted")
    require_delegated(Placement(1, {}), where="whole")
    with pytest.raises(ConversionError, match="0 delegate calls, nothing outside"):
        require_delegated(Placement(0, {}), where="none")


def quantized(captured: Capture, graph: str, ranges: Ranges) -> torch.export.ExportedProgram:
    return quantize(captured(graph), GraphPrecision("w8a8", POLICY, ranges))


@pytest.mark.parametrize("graph", ["image_encoder", "mask_decoder"])
def test_graph_in_w8a8_computes_what_training_rounds(toy: Toy, captured: Capture, ranges: Ranges, graph: str) -> None:
    graph_id = contract.graph_id(graph, SIZE)
    inputs, student = toy.inputs[graph_id], toy.student()
    exact = toy.engine.run(graph_id, inputs)
    with fake_quantized(student, POLICY, ranges=ranges):
        trained = TorchEngine(student, threads=1, tuned=False).run(graph_id, inputs)
    spec = contract.graph_spec(graph, SIZE)
    program = quantized(captured, graph, ranges)
    with torch.no_grad():
        outputs = program.module()(*(torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs))
    for tensor, output in zip(spec.outputs, as_tuple(outputs), strict=True):
        lost = min(snr_db(exact[tensor.name], trained[tensor.name]), 75)  # numbers that hang on single roundings
        assert snr_db(exact[tensor.name], output.numpy()) > lost - 3, tensor.name
        assert snr_db(exact[tensor.name], output.numpy()) < 100, tensor.name  # something was rounded


def test_layers_of_the_policy_and_no_others_are_annotated(toy: Toy, captured: Capture, ranges: Ranges) -> None:
    for graph in ("image_encoder", "mask_decoder"):
        quantizer = PolicyQuantizer(graph, GraphPrecision("w8a8", POLICY, ranges))
        model = quantizer.annotate(captured(graph).program.module())
        names = [name for name in quantizable_layers(toy.student()) if name.startswith(f"{graph}.")]
        assert set(quantizer.annotated) == {name for name in names if POLICY.decide(name).activation_bits == 8}
        marked = {node.target for node in model.graph.nodes if "quantization_annotation" in node.meta}
        products = {torch.ops.aten.bmm.default, torch.ops.aten.softmax.int, torch.ops.aten.add.Tensor}
        assert not marked & products


def test_layer_without_a_range_is_refused_by_name(captured: Capture, ranges: Ranges) -> None:
    known = {name: value for name, value in ranges.items() if name != "image_encoder.enter"}
    with pytest.raises(ContractError, match=r"calibration of image_encoder\.enter"):
        quantized(captured, "image_encoder", known)


def test_integers_of_activations_are_those_of_training() -> None:
    limits = ActivationRange(-1.5, 4.0)
    spec = activation_spec(limits)
    x = torch.linspace(-3, 6, 101)
    rounded = (torch.clamp(torch.round(x / spec.scale) + spec.zero_point, -128, 127) - spec.zero_point) * spec.scale
    expected = int8.fake_quantized_activation(x, *limits.tensors(x.device))
    assert rounded.numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    nothing = activation_spec(ActivationRange(0.0, 0.0))
    assert (nothing.scale, nothing.zero_point) == (pytest.approx(int8.SMALLEST_SCALE), -128)


def test_merged_program_has_every_method_and_equal_weights_once(
    toy: Toy, programs: dict[str, Path], tmp_path: Path
) -> None:
    single = programs["token_gate"].read_bytes()
    one = merge({"token_gate": single}, recipe_of="token_gate")
    two = merge({"first": single, "token_gate": single}, recipe_of="first")
    assert len(two) - len(one) < 0.1 * len(one)
    path = tmp_path / EXECUTORCH_PROGRAM
    path.write_bytes(two)
    program = open_program(path)
    assert program.method_names == {"first", "token_gate", RECIPE_METHOD}
    inputs = [torch.from_numpy(toy.inputs["token_gate"][t.name]) for t in contract.graph_spec("token_gate").inputs]
    alone = open_program(programs["token_gate"]).load_method(SOURCE_METHOD).execute(inputs)[0].clone()
    for name in ("first", "token_gate"):
        assert torch.equal(load_method(program, name, threads=1, where="merged").execute(inputs)[0], alone)


def test_constants_of_each_method_stay_its_own(tmp_path: Path) -> None:
    layers = {"first": nn.Linear(8, 8).eval(), "second": nn.Linear(8, 8).eval()}
    x = torch.randn(1, 8)
    whole = {}
    for name, layer in layers.items():
        edge = lower(torch.export.export(layer, (x,)), [], recipe=name, where=name)
        whole[name] = program_bytes(edge, where=name)
    path = tmp_path / EXECUTORCH_PROGRAM
    path.write_bytes(merge(whole, recipe_of="second"))
    program = open_program(path)
    for name, layer in layers.items():
        output = program.load_method(name).execute([x])[0]
        assert output.numpy() == pytest.approx(layer(x).detach().numpy(), abs=1e-6), name
    assert recipe_of(program) == "second"


def test_program_with_a_state_is_not_merged() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count.add_(1.0)
            return x + self.count

    data = program_bytes(
        lower(torch.export.export(Counter(), (torch.zeros(4),)), [], recipe="fp32", where="counter"), where="counter"
    )
    whole = deserialize_pte_binary(data)
    if not whole.mutable_data:  # initial values are kept where a program says so
        whole.mutable_data = [Buffer(storage=b""), Buffer(storage=b"0" * 16)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("converters.executorch.merge.deserialize_pte_binary", lambda data: whole)
        with pytest.raises(ConversionError, match="counter: states: expected none"):
            merge({"counter": data}, recipe_of="counter")


CONVERT = """
import sys
from pathlib import Path
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.quantization.policy import precision_policy
from sam2lite_mobile.student.checkpoint import load_student
target, spec = open_target("executorch"), contract.graph_spec("token_gate", 256)
captured = target.capture(load_student(Path(sys.argv[1])), spec, bank_tokens=contract.BANK_TOKENS)
precision = GraphPrecision("fp32", precision_policy("fp32"))
target.convert(captured, Path(sys.argv[2]), precision=precision, student_size="toy")
"""


@pytest.mark.slow
def test_programs_of_two_processes_have_the_same_bytes(toy: Toy, programs: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.pte"
    subprocess.run([sys.executable, "-c", CONVERT, str(toy.checkpoint), str(other)], check=True, capture_output=True)
    assert sha256(other) == sha256(programs["token_gate"])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_samples_hold_here_and_fail_where_an_output_differs(
    toy: Toy, programs: dict[str, Path], tmp_path: Path
) -> None:
    for name in programs:
        np.savez(tmp_path / f"{name}.npz", **toy.inputs[name])  # type: ignore[arg-type]
    write_samples(tmp_path, {name: path.read_bytes() for name, path in programs.items()}, recipe_of="token_gate")
    data = (tmp_path / EXECUTORCH_SAMPLES).read_bytes()
    bundle = _load_bundled_program_from_buffer(data)
    for name in programs:
        bundle.verify_result_with_bundled_expected_output(name, 0, 1e-5, 1e-8)
    scores = open_target("executorch").execute(programs["token_gate"], toy.inputs["token_gate"])["scores"]
    changed = scores.copy()
    changed[0, 0] += 1
    assert data.count(scores.tobytes()) == 1
    other = _load_bundled_program_from_buffer(data.replace(scores.tobytes(), changed.tobytes()))
    with pytest.raises(RuntimeError):
        other.verify_result_with_bundled_expected_output("token_gate", 0, 1e-5, 1e-8)
    first = sha256(tmp_path / EXECUTORCH_SAMPLES)
    write_samples(tmp_path, {name: path.read_bytes() for name, path in programs.items()}, recipe_of="token_gate")
    assert sha256(tmp_path / EXECUTORCH_SAMPLES) == first
