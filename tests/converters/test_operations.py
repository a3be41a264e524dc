"""What targets make of the policy, read back from their files: integers in layers and nowhere else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from converters.operations import LINES, MOVES, Operation, Operations, by_line, line_of
from converters.policy_table import recipe_section
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.quantization.policy import precision_policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import LayerRanges, observed_ranges
from tests.converters.conftest import SIZE, Toy

POLICY = precision_policy("w8a8")
LAYERS = LINES[0][0]


@pytest.fixture(scope="module")
def ranges(toy: Toy) -> dict[str, LayerRanges]:
    """Ranges of the toy's image encoder over one call."""
    student = toy.student()
    graph_id = contract.graph_id("image_encoder", SIZE)
    with observed_ranges(student, POLICY) as found:
        TorchEngine(student, threads=1, tuned=False).run(graph_id, toy.inputs[graph_id])
    return found


@pytest.mark.parametrize("name", ["coreml", "onnx", "tflite", pytest.param("executorch", marks=pytest.mark.slow)])
def test_layers_of_the_policy_are_in_integers_and_nothing_else_is(
    toy: Toy, ranges: dict[str, LayerRanges], name: str, tmp_path: Path
) -> None:
    if name in ("tflite", "executorch"):
        pytest.importorskip({"tflite": "litert_torch", "executorch": "executorch"}[name])
    target, student = open_target(name), toy.student()
    path = tmp_path / f"{contract.graph_id('image_encoder', SIZE)}{target.suffix}"
    spec = contract.graph_spec("image_encoder", SIZE)
    captured = target.capture(student, spec, bank_tokens=contract.BANK_TOKENS)
    target.convert(captured, path, precision=GraphPrecision("w8a8", POLICY, ranges), student_size="nano")
    layers = [n for n in quantizable_layers(student) if n.startswith("image_encoder.")]
    wanted = sum(POLICY.decide(layer).weight_bits == 8 for layer in layers)
    lines = by_line(target.operations(path))
    assert lines[LAYERS]["int8"] == wanted
    assert sum(lines[LAYERS].values()) >= len(layers)
    for line in ("attention products, memory reads", "softmax", "normalisation"):
        assert lines[line], f"{name} has a word for {line} that is not known"
        assert "int8" not in lines[line], line


def test_a_form_names_weights_where_they_differ_from_values() -> None:
    assert Operation("conv", "int8", "int8").form == "int8"
    assert Operation("conv", "int8", "float16").form == "float16, int8 weights"
    assert Operation("conv", "palette of 16", "float16").form == "float16, palette of 16"
    assert Operation("softmax", "", "float32").form == "float32"


def test_no_word_stands_on_two_lines() -> None:
    words = Counter(word for _, line in LINES for word in line)
    assert max(words.values()) == 1
    assert line_of("CONV_2D") == line_of("conv") == LAYERS
    assert line_of("reshape") == MOVES


def test_section_of_a_recipe_shows_exceptions_and_a_column_for_each_target(toy: Toy) -> None:
    found = by_line(Operations({Operation("conv", "int8", "int8"): 3, Operation("conv", "float16", "float16"): 1}))
    text = recipe_section(POLICY, toy.student(), {"coreml": found, "executorch": None})
    assert "| line of the policy | coreml | executorch |" in text
    assert f"| {LAYERS} | 3 int8; 1 float16 | recipe not offered |" in text
    assert "in fp16: last layer of the encoder" in text
    assert "in fp32: its sines take angles" in text
