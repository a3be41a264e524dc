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
from sam2lite_mobile.quantization.policy import precision_policy
from tests.converters.conftest import SIZE, Capture, Ranges, Toy
from tests.converters.policy_lines import require_integers_of_the_policy

POLICY = precision_policy("w8a8")
LAYERS = LINES[0][0]


@pytest.mark.parametrize("name", ["coreml", "onnx", pytest.param("executorch", marks=pytest.mark.slow)])
def test_layers_of_the_policy_are_in_integers_and_nothing_else_is(
    toy: Toy, ranges: Ranges, captured: Capture, name: str, tmp_path: Path
) -> None:
    if name == "executorch":
        pytest.importorskip("executorch")
    target = open_target(name)
    path = tmp_path / f"{contract.graph_id('image_encoder', SIZE)}{target.suffix}"
    spec = contract.graph_spec("image_encoder", SIZE)
    rewritten = name == "executorch"
    graph = (
        target.capture(toy.student(), spec, bank_tokens=contract.BANK_TOKENS)
        if rewritten
        else captured("image_encoder")
    )
    target.convert(graph, path, precision=GraphPrecision("w8a8", POLICY, ranges), student_size="nano")
    require_integers_of_the_policy(target.operations(path), toy.student(), "image_encoder")


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
