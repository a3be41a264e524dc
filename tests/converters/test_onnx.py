"""ONNX: integers where the policy has them and in the form that ONNX Runtime computes, weights stored once, exactly."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from converters import limits
from converters.build import build
from converters.calibration import LayerBounds, calibration_path, needs_calibration, read_calibration
from converters.calibration import calibrate as write_calibration
from converters.gates import snr_db
from converters.integers import int8_activation, int8_weight
from converters.onnx.export import export, layer_of
from converters.onnx.quantize import quantize
from converters.onnx.storage import SMALLEST_SHARED_BYTES, halve, share_weights
from converters.options import BuildOptions, Reporter
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.engines import create_engine
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import ContractError, DataError, PackageError
from sam2lite_mobile.package.onnx_models import WEIGHTS_NAME, read_model, read_onnx_interface
from sam2lite_mobile.package.verify import verify_package
from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.fake_quant import fake_quantized
from sam2lite_mobile.quantization.policy import precision_policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import ActivationRange
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.synthetic import write_synthetic_data
from tests.converters.conftest import FRAMES, SIZE, Capture, Ranges, Toy, calibrated

POLICY = precision_policy("w8a8")


def run_inside(toy: Toy, graph_ids: Iterable[str], change: Callable[[Student], AbstractContextManager[Any]]) -> Any:
    """What a change of a student gives, and the outputs of these graphs of the toy under it."""
    student = toy.student()
    engine = TorchEngine(student, threads=1, tuned=False)
    with change(student) as given:
        return given, [engine.run(graph_id, toy.inputs[graph_id]) for graph_id in graph_ids]


Exported = Callable[[str], onnx.ModelProto]


@pytest.fixture(scope="module")
def exported(captured: Capture) -> Exported:
    """Gives a graph of the toy in ONNX, exported once, as a model of its own: to be edited."""

    @functools.cache
    def model(graph: str) -> bytes:
        return bytes(export(captured(graph)).SerializeToString())

    return lambda graph: onnx.ModelProto.FromString(model(graph))


def executed(model: onnx.ModelProto, inputs: dict[str, np.ndarray], *, folder: Path) -> dict[str, np.ndarray]:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return open_target("onnx").execute(path, inputs)


def optimized_operations(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """What ONNX Runtime makes of a model."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


def test_every_layer_of_the_student_is_found_once(toy: Toy, exported: Exported) -> None:
    found = Counter(
        layer
        for graph in contract.GRAPHS
        for node in exported(graph).graph.node
        if node.op_type in ("Conv", "MatMul", "Gemm") and (layer := layer_of(node, graph)) is not None
    )
    assert set(found) == set(quantizable_layers(toy.student()))
    assert {name for name, count in found.items() if count > 1} <= {
        name
        for name in found
        if name.startswith("mask_decoder.")  # layers that the decoder calls twice
    }


@pytest.mark.parametrize("graph", ["image_encoder", "mask_decoder"])
def test_model_in_w8a8_computes_what_training_rounds(
    toy: Toy, exported: Exported, ranges: Ranges, graph: str, tmp_path: Path
) -> None:
    graph_id, inputs = contract.graph_id(graph, SIZE), toy.inputs[contract.graph_id(graph, SIZE)]
    exact = toy.engine.run(graph_id, inputs)
    _, (trained,) = run_inside(toy, [graph_id], lambda student: fake_quantized(student, POLICY, ranges=ranges))
    model = quantize(exported(graph), graph, GraphPrecision("w8a8", POLICY, ranges))
    outputs = executed(model, inputs, folder=tmp_path)
    for name, output in outputs.items():
        lost = min(snr_db(exact[name], trained[name]), 75)  # two numbers, which hang on single roundings
        assert snr_db(exact[name], output) > lost - 3, name
        assert snr_db(exact[name], output) < 100, name  # something was rounded


def test_onnx_runtime_computes_the_layers_in_integers(
    toy: Toy, exported: Exported, ranges: Ranges, tmp_path: Path
) -> None:
    for graph in ("image_encoder", "mask_decoder"):
        wanted = Counter(
            type(layer).__name__
            for name, layer in quantizable_layers(toy.student()).items()
            if name.startswith(graph) and POLICY.decide(name).activation_bits == 8
        )
        operations = optimized_operations(
            quantize(exported(graph), graph, GraphPrecision("w8a8", POLICY, ranges)), tmp_path
        )
        assert operations["QGemm"] + operations["MatMulIntegerToFloat"] >= wanted["Linear"]
        assert operations["QLinearConv"] >= 0.8 * wanted["Conv2d"]  # one between a float input and an output stays


def test_w8_rounds_weights_alone(toy: Toy, exported: Exported, tmp_path: Path) -> None:
    policy = precision_policy("w8")
    model = quantize(exported("image_encoder"), "image_encoder", GraphPrecision("w8", policy))
    operations = Counter(node.op_type for node in model.graph.node)
    layers = [name for name in quantizable_layers(toy.student()) if name.startswith("image_encoder.")]
    products = {name for name, layer in quantizable_layers(toy.student()).items() if isinstance(layer, nn.Linear)}
    rounded = [
        name
        for name in layers
        if policy.decide(name).weight_bits == 8 and (name not in products or POLICY.decide(name).weight_bits == 8)
    ]
    assert (operations["QuantizeLinear"], operations["DequantizeLinear"]) == (0, len(rounded))
    graph_id = contract.graph_id("image_encoder", SIZE)
    _, (trained,) = run_inside(toy, [graph_id], lambda student: fake_quantized(student, policy))
    outputs = executed(model, toy.inputs[graph_id], folder=tmp_path)
    assert snr_db(trained["features"], outputs["features"]) > 35  # MatMulNBits rounds its input, block by block


def test_w8_leaves_products_in_float_whose_input_may_not_be_rounded(exported: Exported) -> None:
    """MatMulNBits would round the input too: the exit's is 16-bit in w8a8."""
    model = quantize(exported("image_encoder"), "image_encoder", GraphPrecision("w8", precision_policy("w8")))
    (exit_node,) = [
        node
        for node in model.graph.node
        if layer_of(node, "image_encoder") == "image_encoder.exit" and node.op_type in ("MatMul", "Gemm", "Conv")
    ]
    constants = {each.name: each.data_type for each in model.graph.initializer}
    assert constants[exit_node.input[1]] == TensorProto.FLOAT


def test_layer_without_a_range_is_refused_by_name(exported: Exported, ranges: Ranges) -> None:
    known = {name: value for name, value in ranges.items() if name != "image_encoder.enter"}
    with pytest.raises(ContractError, match=r"calibration of image_encoder\.enter"):
        quantize(exported("image_encoder"), "image_encoder", GraphPrecision("w8a8", POLICY, known))


def test_integers_are_those_of_training() -> None:
    weight = torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    integers, scales = int8_weight(weight.numpy(), axis=0)
    expected = int8.fake_quantized_weight(weight)
    assert np.array_equal(integers * scales.reshape(-1, 1, 1, 1), expected.numpy())
    turned, _ = int8_weight(weight[:, :, 0, 0].T.contiguous().numpy(), axis=1)
    alone = int8.fake_quantized_weight(weight[:, :, 0, 0])
    assert np.array_equal(turned.T * int8.weight_scale(weight[:, :, 0, 0]).numpy()[:, None], alone.numpy())
    limits = ActivationRange(-1.5, 4.0)
    scale, zero = int8_activation(limits, symmetric=False)
    x = torch.linspace(-3, 6, 101)
    rounded = (np.clip(np.rint(x.numpy() / scale) + zero, 0, 255) - zero) * scale
    assert rounded == pytest.approx(int8.fake_quantized_activation(x, *limits.tensors(x.device)).numpy(), abs=1e-6)


def test_weights_are_halved_where_that_loses_nothing(toy: Toy, exported: Exported, tmp_path: Path) -> None:
    model = exported("image_encoder")
    graph_id = contract.graph_id("image_encoder", SIZE)
    before = executed(model, toy.inputs[graph_id], folder=tmp_path)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    size = model.ByteSize()
    halve(model)
    after = executed(model, toy.inputs[graph_id], folder=tmp_path)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert model.ByteSize() < 0.7 * size
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            kept = numpy_helper.to_array(tensor).astype(np.float32)
            assert np.array_equal(kept, values[tensor.name.removesuffix(".half")])


def test_equal_constants_of_several_models_are_stored_once(toy: Toy, exported: Exported, tmp_path: Path) -> None:
    models = {"image_encoder_256": exported("image_encoder"), "image_encoder_304": exported("image_encoder")}
    large = [len(t.raw_data) for t in models["image_encoder_256"].graph.initializer]
    for name, model in models.items():
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
    share_weights(tmp_path, list(models))
    stored = (tmp_path / WEIGHTS_NAME).stat().st_size
    assert stored < 1.1 * sum(size for size in large if size >= SMALLEST_SHARED_BYTES)
    graph_id = contract.graph_id("image_encoder", SIZE)
    whole = executed(models["image_encoder_256"], toy.inputs[graph_id], folder=tmp_path)
    for name in models:
        shared = open_target("onnx").execute(tmp_path / f"{name}.onnx", toy.inputs[graph_id])
        assert all(np.array_equal(shared[key], whole[key]) for key in whole)


@pytest.mark.parametrize(
    ("location", "offset"), [("../secret.bin", 0), ("/etc/hostname", 0), (WEIGHTS_NAME, 10**9), (WEIGHTS_NAME, -4)]
)
def test_constant_outside_of_the_weights_file_is_refused(
    exported: Exported, tmp_path: Path, location: str, offset: int
) -> None:
    path = tmp_path / "token_gate.onnx"
    path.write_bytes(exported("token_gate").SerializeToString())
    share_weights(tmp_path, ["token_gate"])
    read_onnx_interface(path)
    model = read_model(path)
    stored = next(t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    onnx.external_data_helper.set_external_data(_with_raw_data(stored), location, offset, 4)
    stored.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(PackageError, match=r"inside weights\.bin"):
        read_onnx_interface(path)


def _with_raw_data(tensor: TensorProto) -> TensorProto:
    """Setting a place asks for data to place."""
    tensor.raw_data = b"\0" * 4
    return tensor


def test_package_in_w8a8_is_built_verified_and_tracks(toy: Toy, ranges: Ranges, tmp_path: Path) -> None:
    out = tmp_path / "onnx"
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
        patch.setitem(limits.GRAPH_LIMITS["onnx"]["w8a8"], "image_encoder", 5.0)
        patch.setitem(limits.GRAPH_LIMITS["onnx"]["w8a8"], "mask_decoder", 5.0)
        build(open_target("onnx"), options, Reporter())
    report = verify_package(out)
    assert report.passed, [f"{check.what}: {check.got}" for check in report.failures]
    engine = create_engine("onnx", source=out)
    assert (engine.sizes, engine.bank_tokens) == ((SIZE,), contract.BANK_TOKENS)
    assert engine.describe().precision == "w8a8"
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["runtime"], manifest["calibration"]["frames"]) == ("onnx", 128)
    weights = out / "models" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    assert [check.what for check in verify_package(out).failures] == ["models/weights.bin"]
    with pytest.raises(ContractError, match="bank budget"):
        create_engine("onnx", source=out, bank_tokens=128)


def test_calibration_of_another_checkpoint_too_short_or_missing_is_refused(
    toy: Toy, ranges: Ranges, tmp_path: Path
) -> None:
    checkpoint = calibrated(toy, ranges, tmp_path)
    assert read_calibration(checkpoint).ranges() == ranges
    path = calibration_path(checkpoint)
    content = json.loads(path.read_text())
    first = sorted(content["layers"])[0]
    for change, message in (
        ({"checkpoint_sha256": "0" * 64}, "of another one"),
        ({"frames": 127}, "128 frames or more"),
        ({"layers": {k: v for k, v in content["layers"].items() if k != first}}, f"no {first}"),
        ({"surprise": 1}, "surprise"),
    ):
        path.write_text(json.dumps(content | change))
        with pytest.raises(DataError, match=message):
            read_calibration(checkpoint)
    path.unlink()
    with pytest.raises(DataError, match="python -m converters calibrate"):
        read_calibration(checkpoint)


@pytest.mark.slow
def test_calibration_sees_real_frames_with_memory_and_no_validation_sequence(toy: Toy, tmp_path: Path) -> None:
    checkpoint = tmp_path / "toy.safetensors"
    checkpoint.write_bytes(toy.checkpoint.read_bytes())
    data = tmp_path / "data"
    write_synthetic_data(data)
    path = write_calibration(checkpoint, data, frames=128, seed=1, reporter=Reporter())
    found = read_calibration(checkpoint)
    assert (found.frames, found.seed) == (128, 1)
    assert isinstance(found.layers["image_encoder.enter"], LayerBounds)
    first = path.read_bytes()
    write_calibration(checkpoint, data, frames=128, seed=1, reporter=Reporter())
    assert path.read_bytes() == first
    with pytest.raises(DataError, match="128 or more"):
        write_calibration(checkpoint, data, frames=64, seed=1, reporter=Reporter())
    assert [recipe for recipe in ("fp32", "fp16", "w8", "w8a8") if needs_calibration(recipe)] == ["w8a8"]
