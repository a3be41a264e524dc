"""TFLite: every layer found, integers where the policy has them, one model for all graphs, the same bytes again."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converters import limits
from converters.build import build
from converters.capture import CapturedGraph
from converters.gates import snr_db
from converters.integers import int8_weight
from converters.options import BuildOptions, Reporter
from converters.registry import open_target
from converters.target import GraphPrecision
from converters.tflite.export import export
from converters.tflite.flatbuffer import FLOAT16, FLOAT32, INT8, Graph, unpack
from converters.tflite.layers import CHANNEL_AXES, find_layers
from converters.tflite.merge import merge
from converters.tflite.target import Tflite
from sam2lite_mobile import contract
from sam2lite_mobile.engines import create_engine
from sam2lite_mobile.engines.tflite_engine import TfliteEngine
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import ContractError, ConversionError
from sam2lite_mobile.package.verify import verify_package
from sam2lite_mobile.quantization.fake_quant import fake_quantized
from sam2lite_mobile.quantization.policy import graph_precision, precision_policy, quantizable_layers
from sam2lite_mobile.student.student import Student
from tests.converters.conftest import FRAMES, SIZE, Ranges, TfliteConversion, Toy, calibrated
from tests.converters.policy_lines import require_integers_of_the_policy
from tests.repository import ROOT
from tests.tflite_models import contract_model

POLICY = precision_policy("w8a8")
GRAPH_IDS = [contract.graph_id(graph, SIZE) for graph in contract.GRAPHS]


def run_inside(toy: Toy, graph_ids: Iterable[str], change: Callable[[Student], AbstractContextManager[Any]]) -> Any:
    """What a change of a student gives, and the outputs of these graphs of the toy under it."""
    student = toy.student()
    engine = TorchEngine(student, threads=1, tuned=False)
    with change(student) as given:
        return given, [engine.run(graph_id, toy.inputs[graph_id]) for graph_id in graph_ids]


Converted = Callable[[str], TfliteConversion]
QUICK = ("image_encoder", "prompt_encoder", "memory_encoder", "token_gate")
INTEGER_GRAPHS = ("image_encoder", "mask_decoder")
DECODER = pytest.param("mask_decoder", marks=pytest.mark.slow)
"""Takes half a minute to convert; what it has beyond the others is tested by hand-made models too."""


@pytest.fixture(scope="module")
def written(
    toy: Toy,
    ranges: Ranges,
    tflite_conversion: Converted,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """A folder for each recipe, with the graphs of the toy, a stand-in for its decoder, and the model of all."""
    folders = {}
    decoder = contract_model(contract.graph_spec("mask_decoder", SIZE))
    for recipe in Tflite.recipes:
        folder = folders[recipe] = tmp_path_factory.mktemp(recipe)
        (folder / f"mask_decoder_{SIZE}.tflite").write_bytes(merge([decoder], description="stand-in", recipe=recipe))
        for graph in QUICK:
            write(tflite_conversion(graph), folder, shipped(toy, recipe, graph), ranges)
        open_target("tflite").assemble(folder, GRAPH_IDS)
    return folders


def shipped(toy: Toy, recipe: str, graph: str) -> str:
    return graph_precision(precision_policy(recipe), toy.student(), graph)


def write(conversion: TfliteConversion, folder: Path, precision: str, ranges: Ranges) -> Path:
    """The file of a graph that is converted already."""
    target = Tflite()
    target._exported = conversion
    path = folder / f"{conversion[0].spec.id}.tflite"
    chosen = GraphPrecision(precision, precision_policy(precision), ranges)
    target.convert(conversion[0], path, precision=chosen, student_size="toy")
    return path


def integer_weights(model: bytes) -> int:
    """How many operators have a weight of int8 with a scale for each channel, straight or behind a DEQUANTIZE."""
    graph = Graph(unpack(model))
    stored = {int(op.outputs[0]): int(op.inputs[0]) for op in graph.operators if graph.kind(op) == "DEQUANTIZE"}
    count = 0
    for operator in graph.operators:
        axis = CHANNEL_AXES.get(graph.kind(operator))
        if axis is not None:
            weight = stored.get(int(operator.inputs[1]), int(operator.inputs[1]))
            scales = graph.body.tensors[weight].quantization
            count += graph.type(weight) == INT8 and len(scales.scale) == graph.shape(weight)[axis]
    return count


@pytest.mark.parametrize("graph", [*QUICK, DECODER])
def test_every_layer_of_the_student_is_found_once(toy: Toy, tflite_conversion: Converted, graph: str) -> None:
    captured, model = tflite_conversion(graph)
    found = Counter(layer.name for layer in find_layers(Graph(unpack(model)), captured))
    layers = {name for name in quantizable_layers(toy.student()) if name.startswith(f"{graph}.")}
    merged = {"mask_decoder.read_recent.content"}  # both reads start with the same weights, so it is computed once
    assert layers - merged <= set(found) <= layers
    assert set(found.values()) == {1}


def test_layer_whose_weights_were_changed_is_missed_by_name(tflite_conversion: Converted) -> None:
    captured, model = tflite_conversion("token_gate")
    graph = Graph(unpack(model))
    layer = next(each for each in find_layers(graph, captured) if each.name == "token_gate.hidden_2")
    weight = int(layer.operator.inputs[1])
    rows = graph.values(weight) * np.linspace(1, 2, 64, dtype=np.float32)[:, None]  # as a folded gain would
    layer.operator.inputs = np.asarray([layer.operator.inputs[0], graph.add_constant(rows), -1], np.int32)
    with pytest.raises(ConversionError, match=r"expected 3 layers.*got 2; not token_gate\.hidden_2"):
        find_layers(graph, captured)


@pytest.mark.parametrize("graph", [*QUICK, DECODER])
@pytest.mark.parametrize("recipe", ["w8", "w8a8"])
def test_integers_are_where_the_policy_has_them(
    toy: Toy,
    ranges: Ranges,
    tflite_conversion: Converted,
    tmp_path: Path,
    recipe: str,
    graph: str,
) -> None:
    captured, model = tflite_conversion(graph)
    policy = precision_policy(recipe)
    wanted = sum(policy.decide(layer.name).weight_bits == 8 for layer in find_layers(Graph(unpack(model)), captured))
    written = write(tflite_conversion(graph), tmp_path, shipped(toy, recipe, graph), ranges).read_bytes()
    assert integer_weights(written) == wanted
    assert (wanted > 0) == (graph in (*INTEGER_GRAPHS, "memory_encoder")[: 3 if recipe == "w8" else 2])


def test_model_in_fp32_matches_and_halves_match_to_the_bit(toy: Toy, written: dict[str, Path]) -> None:
    target = open_target("tflite")
    for graph in QUICK:
        graph_id = contract.graph_id(graph, SIZE)
        exact = toy.engine.run(graph_id, toy.inputs[graph_id])
        full = target.execute(written["fp32"] / f"{graph_id}.tflite", toy.inputs[graph_id])
        half = target.execute(written["fp16"] / f"{graph_id}.tflite", toy.inputs[graph_id])
        for name, values in exact.items():
            assert snr_db(values, full[name]) > 95, (graph_id, name)
            assert np.array_equal(full[name], half[name]), (graph_id, name)
    sizes = [sum(path.stat().st_size for path in written[recipe].glob("*_256.tflite")) for recipe in ("fp32", "fp16")]
    assert sizes[1] < 0.8 * sizes[0]


@pytest.mark.parametrize("graph", ["image_encoder", DECODER])
@pytest.mark.parametrize("recipe", ["w8", "w8a8"])
def test_model_computes_what_training_rounds(
    toy: Toy,
    ranges: Ranges,
    tflite_conversion: Converted,
    tmp_path: Path,
    graph: str,
    recipe: str,
) -> None:
    graph_id = contract.graph_id(graph, SIZE)
    exact = toy.engine.run(graph_id, toy.inputs[graph_id])
    policy, fixed = precision_policy(recipe), ranges if recipe == "w8a8" else None
    _, (trained,) = run_inside(toy, [graph_id], lambda student: fake_quantized(student, policy, ranges=fixed))
    path = write(tflite_conversion(graph), tmp_path, recipe, ranges)
    for name, output in open_target("tflite").execute(path, toy.inputs[graph_id]).items():
        lost = min(snr_db(exact[name], trained[name]), 60)  # beyond: single roundings, and tables in float16
        assert snr_db(exact[name], output) > lost - 3, name
        assert snr_db(exact[name], output) < 100, name  # something was rounded


def test_layers_of_the_policy_are_in_integers_and_nothing_else_is(toy: Toy, written: dict[str, Path]) -> None:
    path = written["w8a8"] / f"image_encoder_{SIZE}.tflite"
    require_integers_of_the_policy(open_target("tflite").operations(path), toy.student(), "image_encoder")


def test_values_between_integer_layers_stay_integers(written: dict[str, Path]) -> None:
    graph = Graph(unpack((written["w8a8"] / f"image_encoder_{SIZE}.tflite").read_bytes()))
    writers = {int(operator.outputs[0]): operator for operator in graph.operators}
    moved = Counter(graph.kind(op) for op in graph.operators if graph.type(int(op.outputs[0])) == INT8)
    assert (moved["PAD"], moved["SLICE"]) == (2, 4)  # two of four strides are in int8; rows and columns are cut apart
    straight = [
        operator
        for operator in graph.operators
        if graph.kind(operator) == "DEPTHWISE_CONV_2D" and graph.type(int(operator.inputs[0])) == INT8
    ]
    assert {graph.kind(writers[int(operator.inputs[0])]) for operator in straight} == {"CONV_2D", "PAD"}
    for operator in straight:
        bias, weight = (graph.body.tensors[int(operator.inputs[i])].quantization for i in (2, 1))
        scale = graph.body.tensors[int(operator.inputs[0])].quantization.scale[0]
        assert np.asarray(bias.scale) == pytest.approx(np.asarray(weight.scale) * scale)
        assert weight.quantizedDimension == 3


def test_layer_without_a_range_is_refused_by_name(tflite_conversion: Converted, ranges: Ranges, tmp_path: Path) -> None:
    known = {name: value for name, value in ranges.items() if name != "image_encoder.enter"}
    with pytest.raises(ContractError, match=r"calibration of image_encoder\.enter"):
        write(tflite_conversion("image_encoder"), tmp_path, "w8a8", known)
    assert not list(tmp_path.iterdir())


class _Decomposition(torch.nn.Module):
    """An operation that TFLite has no counterpart of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(x)[0]


def test_operation_without_counterpart_is_refused_by_the_name_of_its_graph() -> None:
    program = torch.export.export(_Decomposition(), (torch.eye(4),))
    with pytest.raises(ConversionError, match=r"token_gate to TFLite: expected a model, got .*linalg"):
        export(CapturedGraph(contract.graph_spec("token_gate"), program, ()))


def test_weights_of_a_depthwise_kernel_have_their_channels_last() -> None:
    values = np.arange(-8, 10, dtype=np.float32).reshape(1, 3, 3, 2)
    integers, scales = int8_weight(values, axis=3)
    assert scales == pytest.approx(np.asarray([8, 9], np.float32) / 127)
    assert np.abs(integers * scales - values).max() <= scales.max() / 2


def test_model_of_all_graphs_runs_as_each_alone(toy: Toy, written: dict[str, Path]) -> None:
    for recipe in ("fp32", "w8a8"):
        engine = TfliteEngine(written[recipe])
        assert (engine.sizes, engine.bank_tokens) == ((SIZE,), contract.BANK_TOKENS)
        assert engine.describe().precision == recipe
        for graph_id, inputs in toy.inputs.items():
            alone = open_target("tflite").execute(written[recipe] / f"{graph_id}.tflite", inputs)
            together = engine.run(graph_id, inputs)
            assert all(np.array_equal(alone[name], together[name]) for name in alone), graph_id


def test_constants_of_the_model_of_all_lie_in_it_once_and_its_bytes_are_the_same_again(
    written: dict[str, Path],
) -> None:
    folder = written["w8a8"]
    path = folder / Path(contract.TFLITE_MODEL).name
    before = path.read_bytes()
    contents = [bytes(buffer.data) for buffer in unpack(before).buffers if buffer.data is not None]
    assert len(set(contents)) == len(contents)
    for place in (before.find(content) for content in contents if len(content) > 1024):
        assert place % 16 == 0
    open_target("tflite").assemble(folder, GRAPH_IDS)
    assert path.read_bytes() == before


def test_types_of_stored_weights_follow_the_recipe(written: dict[str, Path]) -> None:
    for recipe, kinds in {"fp32": {FLOAT32}, "fp16": {FLOAT16}, "w8": {INT8, FLOAT16}, "w8a8": {INT8, FLOAT16}}.items():
        graph = Graph(unpack((written[recipe] / f"image_encoder_{SIZE}.tflite").read_bytes()))
        tensors = range(len(graph.body.tensors))
        large = {i for i in tensors if graph.is_constant(i) and graph.values(i).size >= 4096}
        names = {graph.type(i) for i in large}
        assert kinds <= names <= {*kinds, FLOAT32}


@pytest.mark.slow
def test_package_in_w8a8_is_built_verified_and_tracks(toy: Toy, ranges: Ranges, tmp_path: Path) -> None:
    out = tmp_path / "android"
    options = BuildOptions(
        checkpoint=calibrated(toy, ranges, tmp_path),
        out=out,
        recipe="w8a8",
        sizes=(SIZE,),
        accuracy_frames=FRAMES,
        workers=1,
    )
    with pytest.MonkeyPatch.context() as patch:  # a toy's masks are noise: what it loses says nothing
        patch.setitem(limits.CLIP_LIMITS, "w8a8", 0.0)
        patch.setitem(limits.ACCURACY_LIMITS, "w8a8", 100.0)
        build(open_target("tflite"), options, Reporter())
    report = verify_package(out)
    assert report.passed, [f"{check.what}: {check.got}" for check in report.failures]
    engine = create_engine("tflite", source=out)
    assert (engine.sizes, engine.describe().precision) == ((SIZE,), "w8a8")


_SCRIPT = """
import sys, torch
from pathlib import Path
from converters import limits
from converters.build import build
from converters.calibration import calibration_path
from converters.capture import capture
from converters.options import BuildOptions, Reporter
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.quantization.policy import precision_policy
from sam2lite_mobile.student.checkpoint import load_student
torch.set_num_threads(1)
graph = capture(load_student(Path(sys.argv[1])), contract.graph_spec(sys.argv[2], 256), bank_tokens=384)
precision = GraphPrecision("w8", precision_policy("w8"))
open_target("tflite").convert(graph, Path(sys.argv[3]), precision=precision, student_size="toy")
"""


@pytest.mark.slow
@pytest.mark.parametrize("graph", ["image_encoder", "mask_decoder", "memory_encoder"])
def test_two_processes_write_the_same_bytes(toy: Toy, tmp_path: Path, graph: str) -> None:
    paths = [tmp_path / name for name in ("first.tflite", "second.tflite")]
    for seed, path in enumerate(paths, 1):
        subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(toy.checkpoint), graph, str(path)],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(seed), "PATH": "", "OMP_NUM_THREADS": "1"},
            check=True,
            timeout=300,
        )
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert str(ROOT).encode() not in paths[0].read_bytes()
