"""The policy: every layer of every size has one deciding rule, and every rule decides something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.quantization.policy import (
    Policy,
    policy_hash,
    policy_table,
    precision_policy,
    quantizable_layers,
)
from sam2lite_mobile.quantization.recipe_names import RECIPES
from sam2lite_mobile.quantization.replaced_forward import Forward, replaced_forward
from sam2lite_mobile.student.config import PRESETS
from sam2lite_mobile.student.student import Student, build_student, example_inputs


@cache
def student(size: str) -> Student:
    return build_student(size)


def decided(recipe: str, layer: str) -> tuple[int, int]:
    decision = precision_policy(recipe).decide(layer)
    return decision.weight_bits, decision.activation_bits


@pytest.mark.parametrize("size", PRESETS)
def test_table_has_each_layer_once_and_each_rule_decides_at_least_one(size: str) -> None:
    layers = [n for n, m in student(size).named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for recipe in RECIPES:
        policy = precision_policy(recipe)
        rows = policy_table(student(size), policy)
        assert [row.decision.layer for row in rows] == layers
        assert {policy.deciding_rule(layer) for layer in layers} == set(range(len(policy.rules)))
        for row in rows:
            assert row.weights == student(size).get_submodule(row.decision.layer).weight.numel()
            assert row.decision.exception == bool(row.decision.reason), row


@pytest.mark.parametrize("size", PRESETS)
def test_every_fused_activation_belongs_to_a_layer(size: str) -> None:
    policy = precision_policy("w8a8")
    used = {policy.fused_activation(layer) for layer in quantizable_layers(student(size))} - {None}
    assert used == set(policy.fused)


def test_every_weight_and_parameter_with_two_axes_is_in_a_layer() -> None:
    layers = quantizable_layers(student("nano"))
    others = [
        name
        for name, parameter in student("nano").named_parameters()
        if parameter.dim() > 1 and name.removesuffix(".weight") not in layers
    ]
    assert others == ["mask_decoder.queries"]  # a table of starting points, added to and never multiplied


@pytest.mark.parametrize(
    ("layer", "w8", "w8a8"),
    [
        ("image_encoder.patches.stem", (16, 16), (16, 16)),
        ("image_encoder.patches.blocks.1.expand", (16, 16), (16, 16)),
        ("image_encoder.patches.blocks.2.expand", (8, 16), (8, 8)),
        ("image_encoder.patches.blocks.10.expand", (8, 16), (8, 8)),
        ("image_encoder.blocks.0.attention.query", (8, 16), (8, 8)),
        ("image_encoder.blocks.1.mlp.0", (8, 16), (8, 8)),
        ("image_encoder.exit", (8, 16), (16, 16)),
        ("prompt_encoder.project", (32, 32), (32, 32)),
        ("mask_decoder.read_anchors.content", (8, 16), (16, 16)),
        ("mask_decoder.read_recent.content", (8, 16), (16, 16)),
        ("mask_decoder.layers.2.cross_attention.output", (8, 16), (8, 8)),
        ("mask_decoder.quality.2", (8, 16), (16, 16)),
        ("mask_decoder.visibility.0", (8, 16), (16, 16)),
        ("mask_decoder.embedding.0", (8, 16), (8, 8)),
        ("mask_decoder.embedding.2", (8, 16), (16, 16)),
        ("mask_decoder.head.mix_4", (8, 16), (8, 8)),
        ("mask_decoder.head.out", (8, 16), (16, 16)),
        ("memory_encoder.learned.0", (8, 16), (16, 16)),
        ("token_gate.hidden_2", (16, 16), (16, 16)),
    ],
)
def test_bits_of_a_layer(layer: str, w8: tuple[int, int], w8a8: tuple[int, int]) -> None:
    assert layer in quantizable_layers(student("nano"))
    assert decided("w8", layer) == w8
    assert decided("w8a8", layer) == w8a8
    assert decided("fp32", layer) == (32, 32)
    assert decided("fp16", layer) == ((32, 32) if layer.startswith("prompt_encoder") else (16, 16))


@pytest.mark.parametrize("size", PRESETS)
def test_exceptions_of_w8a8_are_under_a_tenth_of_the_weights(size: str) -> None:
    rows = policy_table(student(size), precision_policy("w8a8"))
    kept = sum(row.weights for row in rows if row.decision.exception)
    assert kept < 0.1 * sum(row.weights for row in rows)


def test_first_matching_rule_decides_and_a_layer_without_rule_is_an_error() -> None:
    policy = precision_policy("w8a8")
    turned = replace(policy, rules=(policy.rules[-1], *policy.rules[:-1]))
    assert turned.decide("image_encoder.patches.stem").precision == "w8a8"
    with pytest.raises(ContractError, match=r"expected a rule for every layer, got image_encoder\.exit_2"):
        replace(policy, rules=policy.rules[:-1]).decide("image_encoder.exit_2")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("int8", "got 'int8'; write fp"),
        ("W8A8", "got 'W8A8'; write fp"),
        ("w8 a8", "got 'w8 a8'; write fp"),
        ("w8a8\n", r"got 'w8a8\\n'; write fp"),
        ("", "got ''; write fp"),
        ("fp8", "got fp8: a float of 8 bits; choose fp16 or fp32"),
        ("w4", "got w4: weights of 4 bits; choose w8 or w8a8"),
        ("w4a8", "got w4a8: weights of 4 bits; choose w8 or w8a8"),
        ("w8a16", "got w8a16: activations of 16 bits; choose w8a8, or w8 for 16-bit activations"),
    ],
)
def test_unknown_recipe_is_refused_with_what_to_choose(name: str, message: str) -> None:
    with pytest.raises(ContractError, match="precision recipe: expected one of fp32, fp16, w8, w8a8, " + message):
        precision_policy(name)


def test_hash_is_the_same_for_the_same_policy_and_another_for_any_change() -> None:
    policy = precision_policy("w8a8")
    assert policy_hash(policy) == policy_hash(precision_policy("w8a8"))
    changed: list[Policy] = [precision_policy(recipe) for recipe in RECIPES]
    changed.append(replace(policy, rules=(policy.rules[1], policy.rules[0], *policy.rules[2:])))
    changed.append(replace(policy, rules=(replace(policy.rules[0], precision="fp16"), *policy.rules[1:])))
    changed.append(replace(policy, fused=policy.fused[1:]))
    changed.append(replace(policy, operations=policy.operations[1:]))
    assert len({policy_hash(each) for each in changed}) == len(changed)
    assert len(policy_hash(policy)) == 64


class ReluInputs(TorchFunctionMode):
    """Keeps the inputs of every ReLU and ReLU6 that runs, in order."""

    def __init__(self) -> None:
        self.inputs: list[tuple[str, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kind = {"relu": "relu", "hardtanh": "relu6"}.get(getattr(func, "__name__", ""))  # ReLU6 is a Hardtanh
        if kind is not None:
            self.inputs.append((kind, args[0]))
        return func(*args, **(kwargs or {}))


def outputs_kept(student: Student, outputs: dict[str, Tensor]) -> Iterator[tuple[nn.Module, Forward]]:
    for name, layer in quantizable_layers(student).items():

        def keep(x: Tensor, name: str = name, forward: Forward = layer.forward) -> Tensor:
            outputs[name] = forward(x)
            return outputs[name]

        yield layer, keep


def test_fused_activations_are_the_relus_that_follow_a_layer_at_once() -> None:
    nano = student("nano")
    outputs: dict[str, Tensor] = {}
    with ReluInputs() as relus, replaced_forward(dict(outputs_kept(nano, outputs))), torch.no_grad():
        for graph in contract.GRAPHS:
            nano.graph(graph)(**example_inputs(graph, 256))
    # A cut-out of an output (`conv_same`) shares its memory.
    by_memory = {output.untyped_storage().data_ptr(): name for name, output in outputs.items()}
    kinds = {by_memory.get(x.untyped_storage().data_ptr()): kind for kind, x in relus.inputs}
    kinds.pop(None)  # relu of a sum of layers
    policy = precision_policy("w8a8")
    fused = {name: policy.fused_activation(name) for name in outputs}
    assert kinds == {name: found.activation for name, found in fused.items() if found is not None}
    assert {(f.activation, f.low, f.high) for f in policy.fused} == {("relu6", 0, 6), ("relu", 0, None)}
