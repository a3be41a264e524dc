"""Core ML: integers and palettes where the policy has them, equal to what training rounds, executed as saved."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.gates import snr_db
from converters.integers import int8_range, int8_weight, stored_scale
from converters.palette import palette
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import ContractError, ConversionError
from sam2lite_mobile.mlprogram import Package
from sam2lite_mobile.package.tree import list_files
from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.fake_quant import fake_quantized
from sam2lite_mobile.quantization.policy import precision_policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import ActivationRange
from tests.converters.conftest import SIZE, Capture, Ranges, Toy

POLICY = precision_policy("w8a8")
GRAPH = contract.graph_id("image_encoder", SIZE)


def converted(
    captured: Capture, recipe: str, folder: Path, *, graph: str = "image_encoder", ranges: Ranges | None = None
) -> Path:
    path = folder / f"{graph}_{recipe}.mlpackage"
    precision = GraphPrecision(recipe, precision_policy(recipe), ranges)
    open_target("coreml").convert(captured(graph), path, precision=precision, student_size="nano")
    return path


def operations(path: Path) -> Counter[str]:
    """Kinds of operations of a saved program."""
    package = Package(path)
    block = next(iter(package.function(package.default_function).block_specializations.values()))
    return Counter(operation.type for operation in block.operations)


def layers_of(toy: Toy, recipe: str, graph: str, bits: int) -> list[str]:
    policy = precision_policy(recipe)
    layers = quantizable_layers(toy.student())
    return [n for n in layers if n.startswith(f"{graph}.") and policy.decide(n).weight_bits == bits]


@pytest.mark.parametrize("graph", ["image_encoder", "mask_decoder"])
def test_program_in_w8a8_computes_what_training_rounds(
    toy: Toy, captured: Capture, ranges: Ranges, graph: str, tmp_path: Path
) -> None:
    graph_id = contract.graph_id(graph, SIZE)
    inputs = toy.inputs[graph_id]
    exact = toy.engine.run(graph_id, inputs)
    student = toy.student()
    with fake_quantized(student, POLICY, ranges=ranges):
        trained = TorchEngine(student, threads=1, tuned=False).run(graph_id, inputs)
    path = converted(captured, "w8a8", tmp_path, graph=graph, ranges=ranges)
    outputs = open_target("coreml").execute(path, inputs)
    for name, output in outputs.items():
        lost = min(snr_db(exact[name], trained[name]), 60)  # float16 adds its own rounding
        assert snr_db(exact[name], output) > lost - 3, name
        assert snr_db(exact[name], output) < 90, name  # something was rounded
    found = operations(path)
    assert found["constexpr_affine_dequantize"] == len(layers_of(toy, "w8a8", graph, 8))
    assert found["quantize"] == found["dequantize"] > 0


def test_w8_rounds_weights_alone(toy: Toy, captured: Capture, tmp_path: Path) -> None:
    path = converted(captured, "w8", tmp_path)
    found = operations(path)
    assert found["constexpr_affine_dequantize"] == len(layers_of(toy, "w8", "image_encoder", 8))
    assert found["quantize"] == found["dequantize"] == 0
    student = toy.student()
    with fake_quantized(student, precision_policy("w8")):
        trained = TorchEngine(student, threads=1, tuned=False).run(GRAPH, toy.inputs[GRAPH])
    outputs = open_target("coreml").execute(path, toy.inputs[GRAPH])
    assert snr_db(trained["features"], outputs["features"]) > 40


@pytest.mark.parametrize("recipe", ["p6", "p4"])
def test_palettes_and_the_integers_of_their_exceptions(
    toy: Toy, captured: Capture, recipe: str, tmp_path: Path
) -> None:
    path = converted(captured, recipe, tmp_path)
    found = operations(path)
    bits = int(recipe[1])
    assert found["constexpr_lut_to_dense"] == len(layers_of(toy, recipe, "image_encoder", bits)) > 0
    assert found["constexpr_affine_dequantize"] == len(layers_of(toy, recipe, "image_encoder", 8)) > 0
    exact, outputs = toy.engine.run(GRAPH, toy.inputs[GRAPH]), open_target("coreml").execute(path, toy.inputs[GRAPH])
    assert {"p6": 20, "p4": 10}[recipe] < snr_db(exact["features"], outputs["features"]) < 60


@pytest.mark.slow
def test_fewer_bits_are_fewer_bytes(captured: Capture, tmp_path: Path) -> None:
    sizes = [
        sum(file.stat().st_size for file in converted(captured, recipe, tmp_path).rglob("*") if file.is_file())
        for recipe in ("fp32", "fp16", "w8", "p6", "p4")
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < 0.62 * sizes[1]


def test_same_bytes_twice(captured: Capture, ranges: Ranges, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    for folder in (first, second):
        converted(captured, "w8a8", folder, ranges=ranges)
    assert list_files(first) == list_files(second)


def test_layer_without_a_range_is_refused_by_name(captured: Capture, ranges: Ranges, tmp_path: Path) -> None:
    known = {name: value for name, value in ranges.items() if name != "image_encoder.enter"}
    with pytest.raises(ContractError, match=r"calibration of image_encoder\.enter"):
        converted(captured, "w8a8", tmp_path, ranges=known)


def test_layer_that_is_not_found_in_the_program_is_an_error(captured: Capture, tmp_path: Path) -> None:
    graph = captured("image_encoder")
    precision = GraphPrecision("w8", precision_policy("w8"))
    with pytest.raises(ConversionError, match=r"none for image_encoder\.elsewhere"):
        open_target("coreml").convert(
            replace(graph, layers=(*graph.layers, "elsewhere")),
            tmp_path / "x.mlpackage",
            precision=precision,
            student_size="nano",
        )
    assert not (tmp_path / "x.mlpackage").exists()


def test_integers_fit_the_scales_as_they_are_stored() -> None:
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).numpy() * 1e-4
    weight[3] = 0
    integers, scales = int8_weight(weight, axis=0, scale_type=np.float16)
    assert scales.dtype == np.float16
    step = scales.astype(np.float32)[:, None]
    assert np.abs(integers * step - weight)[:3].max() <= 0.51 * step.max()
    assert not integers[3].any()
    assert scales[3] == np.float16(int8.SMALLEST_SCALE) == stored_scale(0.0, np.float16)
    limits = ActivationRange(-1.5, 4.0)
    scale, zero = int8_range(limits)
    x = torch.linspace(-3, 6, 101)
    rounded = (np.clip(np.rint(x.numpy() / scale) + zero, -128, 127) - zero.astype(np.float32)) * scale
    assert rounded == pytest.approx(int8.fake_quantized_activation(x, *limits.tensors(x.device)).numpy(), abs=1e-6)


def test_palette_of_few_values_is_exact() -> None:
    values = np.array([[0.5, -2, 0.5], [3, -2, 0.25]], np.float16)
    table, places = palette(values, bits=4)
    assert table.shape == (16,)
    assert places.dtype == np.uint8
    assert np.array_equal(table[places], values)


@pytest.mark.parametrize(("bits", "db"), [(4, 20.22), (6, 31.89)])
def test_palette_of_normal_values_is_near_the_best_there_is(bits: int, db: float) -> None:
    """The best fixed-rate scalar quantizer of a normal density (Max 1960, table I; 4 and 6 bits)."""
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float16)
    table, places = palette(values, bits=bits)
    assert np.array_equal(table, np.sort(table))
    exact = values.astype(np.float64)
    lost = exact - table.astype(np.float64)[places]
    assert 10 * np.log10((exact**2).mean() / (lost**2).mean()) > db - 1
    nearest = np.abs(exact[:500, None] - table.astype(np.float64)).min(1)
    assert np.abs(lost[:500]) == pytest.approx(nearest, abs=1e-6)
