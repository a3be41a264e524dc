"""Fake quantization of layers and of a student: what it computes, what it leaves alone, what it composes with."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError
from sam2lite_mobile.quantization.fake_quant import fake_quantized
from sam2lite_mobile.quantization.int8 import fake_quantized_weight, weight_scale
from sam2lite_mobile.quantization.policy import Policy, precision_policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import ActivationRange, LayerRanges, observed_ranges
from sam2lite_mobile.quantization.rules import FusedActivation, Rule
from sam2lite_mobile.student.student import Student, example_inputs
from sam2lite_mobile.training.clip_forward import float32_inside
from tests.training.short_runs import small_student

ALL_W8 = Policy("w8", (Rule(".*", "w8", ""),), fused=())
ALL_W8A8 = Policy("w8a8", (Rule(".*", "w8a8", ""),), fused=())


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def layers() -> nn.Sequential:
    """A convolution and a linear layer with weights of their own scales."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(2), nn.Linear(9, 5))
    for i, parameter in enumerate(net.parameters()):
        parameter.data.copy_(normal(*parameter.shape, seed=i) * (i + 1))
    return net


def snr_db(reference: Tensor, output: Tensor) -> float:
    with torch.no_grad():
        return float(10 * torch.log10((reference**2).sum() / ((reference - output) ** 2).sum()))


def test_layer_with_int8_weights_computes_with_the_rounded_weight_and_its_own_bias() -> None:
    net, x = layers(), normal(2, 3, 6, 6)
    conv = net[0]
    assert isinstance(conv, nn.Conv2d)
    expected = nn.functional.conv2d(x, fake_quantized_weight(conv.weight), conv.bias, stride=2, padding=1)
    with fake_quantized(net, ALL_W8):
        assert torch.equal(conv(x), expected)
    assert not torch.equal(conv(x), expected)


def test_layer_with_int8_activations_equals_integer_arithmetic() -> None:
    linear = nn.Linear(4, 2)
    linear.weight.data.copy_(torch.tensor([[1.27, -0.5, 0.25, 0.0], [0.3, 2.54, -1.0, 0.02]]))
    linear.bias.data.copy_(torch.tensor([0.5, -0.25]))
    x = torch.tensor([[-1.0, 1.55, 0.333, 0.0]])  # scale 0.01, zero point -28
    x_integers = torch.tensor([[-128, 127, 5, -28]])
    w_integers = torch.tensor([[127, -50, 25, 0], [15, 127, -50, 1]])  # scales 0.01 and 0.02
    accumulated = ((x_integers + 28) @ w_integers.T).double() * 0.01 * torch.tensor([0.01, 0.02])
    y = accumulated + torch.tensor([0.5, -0.25])  # (-1.4625, 3.057)
    assert y.tolist() == [[pytest.approx(-1.4625), pytest.approx(3.057)]]
    step = (3.057 + 1.4625) / 255
    zero_point = round(-128 + 1.4625 / step)
    expected = ((y / step).round() + zero_point).clamp(-128, 127).sub(zero_point) * step
    with fake_quantized(nn.ModuleDict({"only": linear}), ALL_W8A8):
        torch.testing.assert_close(linear(x), expected.float())


def test_output_range_is_that_of_the_relu6_that_follows() -> None:
    linear = nn.Linear(1, 1, bias=False)
    linear.weight.data.fill_(1)
    fused = (FusedActivation("only", "relu6", 0, 6),)
    x = torch.tensor([[-9.0], [0.0], [4.0], [3.01], [9.0]])
    with fake_quantized(nn.ModuleDict({"only": linear}), Policy("w8a8", ALL_W8A8.rules, fused=fused)):
        y = linear(x)
    # Input in steps of 18 / 255, output in steps of 6 / 255 from 0 to 6.
    steps = nn.functional.relu6(y) * 255 / 6
    torch.testing.assert_close(steps, steps.round())
    assert steps.flatten().tolist() == pytest.approx([0, 0, 171, 129, 255])


def test_student_is_untouched_inside_the_block_and_as_before_after_it() -> None:
    student = small_student()
    before = {name: (value.data_ptr(), value.clone()) for name, value in student.state_dict().items()}
    kinds = {name: type(module) for name, module in student.named_modules()}
    parameters = [id(p) for p in student.parameters()]
    attributes = {name: set(vars(module)) for name, module in student.named_modules()}

    def check() -> None:
        now = student.state_dict()
        assert list(now) == list(before)
        assert all(now[n].data_ptr() == at and torch.equal(now[n], value) for n, (at, value) in before.items())
        assert {name: type(module) for name, module in student.named_modules()} == kinds
        assert [id(p) for p in student.parameters()] == parameters

    with fake_quantized(student, precision_policy("w8a8")):
        student.graph("image_encoder")(**example_inputs("image_encoder", 256))
        check()
    check()
    assert {name: set(vars(module)) for name, module in student.named_modules()} == attributes


def test_layers_are_restored_when_the_block_or_a_layer_raises() -> None:
    net = layers()
    with pytest.raises(RuntimeError, match="channels"), fake_quantized(net, ALL_W8A8):
        net(normal(1, 2, 6, 6))
    assert not {"forward", "weight"} & set(vars(net[0]))
    with pytest.raises(KeyError), fake_quantized(net, ALL_W8A8):
        raise KeyError
    assert "forward" not in vars(net[0])


@pytest.mark.parametrize("graph", ["prompt_encoder", "memory_encoder", "token_gate"])
def test_graph_of_exceptions_gives_the_same_bits_inside(graph: str) -> None:
    student = small_student().eval()
    module, inputs = student.graph(graph), example_inputs(graph, 256)
    with torch.no_grad():
        outside = module(**inputs)
        with fake_quantized(student, precision_policy("w8a8")):
            inside = module(**inputs)
    for a, b in zip(outside, inside, strict=True):
        assert torch.equal(a, b)


def test_only_layers_that_the_policy_quantizes_are_replaced() -> None:
    student = small_student()
    for recipe in ("fp32", "fp16", "w8", "w8a8"):
        policy = precision_policy(recipe)
        with fake_quantized(student, policy):
            replaced = {n for n, layer in quantizable_layers(student).items() if "forward" in vars(layer)}
        assert replaced == {n for n in quantizable_layers(student) if policy.decide(n).weight_bits == 8}
        assert bool(replaced) == (recipe in ("w8", "w8a8"))


@pytest.mark.parametrize("recipe", ["p6", "p4"])
def test_palettes_are_refused_in_training_and_leave_no_layer_replaced(recipe: str) -> None:
    student = small_student()
    with (
        pytest.raises(ContractError, match=f"training under {recipe}: expected integers or floats, got a palette"),
        fake_quantized(student, precision_policy(recipe)),
    ):
        pass
    assert not any("forward" in vars(layer) for layer in quantizable_layers(student).values())


def test_int8_moves_the_features_a_little_and_w8a8_more_than_w8() -> None:
    student = small_student().eval()
    inputs = example_inputs("image_encoder", 256)
    snr = {}
    with torch.no_grad():
        exact = student.image_encoder(**inputs)[0]
        for recipe in ("w8", "w8a8"):
            with fake_quantized(student, precision_policy(recipe)):
                snr[recipe] = snr_db(exact, student.image_encoder(**inputs)[0])
    assert 15 < snr["w8a8"] < snr["w8"] < 60


def test_a_call_does_not_depend_on_the_calls_before_it() -> None:
    net, x = layers(), normal(2, 3, 6, 6)
    with fake_quantized(net, ALL_W8A8):
        first = net(x)
        net(100 * x)
        assert torch.equal(net(x), first)
    with fake_quantized(net, ALL_W8A8):
        assert torch.equal(net(x), first)


def test_gradients_reach_weights_biases_and_input_through_int8() -> None:
    net, x = layers(), normal(2, 3, 6, 6).requires_grad_()
    with fake_quantized(net, ALL_W8A8):
        y = net(x)
    y.sum().backward()  # after the block: what backward needs was kept
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("int8_first", [True, False])
def test_composes_with_float32_inside_in_either_order(int8_first: bool) -> None:
    student = small_student().eval()
    encoder, inputs = student.memory_encoder, example_inputs("memory_encoder", 256)
    policy = precision_policy("w8")  # int8 weights in the memory encoder
    with torch.no_grad(), fake_quantized(student, policy):
        expected = encoder(*inputs.values())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), ExitStack() as stack:
        for turn in (True, False):
            stack.enter_context(fake_quantized(student, policy) if turn == int8_first else float32_inside(encoder))
        inside = encoder(*inputs.values())
    for a, b in zip(expected, inside, strict=True):
        assert torch.equal(a, b)
    assert not any("forward" in vars(module) for module in student.modules())


def test_layer_that_runs_in_float32_already_still_does_and_stays_so() -> None:
    net, x = layers(), normal(2, 3, 6, 6)
    conv = net[0]
    with fake_quantized(net, ALL_W8):
        expected = conv(x)
    with torch.autocast("cpu", torch.bfloat16), float32_inside(conv):
        replaced = conv.forward
        with fake_quantized(net, ALL_W8):
            assert torch.equal(conv(x), expected)
        assert conv.forward is replaced
        assert conv(x).dtype == torch.float32


def test_under_bfloat16_rounding_is_that_of_float32() -> None:
    linear = nn.Linear(64, 8)
    linear.weight.data.copy_(normal(8, 64))
    x = normal(16, 64, seed=1).bfloat16()
    seen = []
    with torch.autocast("cpu", torch.bfloat16), fake_quantized(nn.ModuleDict({"only": linear}), ALL_W8A8):
        y = linear(x)
        y.float().sum().backward()
        seen.append(y.dtype)
    assert seen == [torch.bfloat16]
    assert linear.weight.grad is not None
    assert linear.weight.grad.dtype == torch.float32
    scale = weight_scale(linear.weight)
    assert torch.equal(fake_quantized_weight(linear.weight), (linear.weight / scale[:, None]).round() * scale[:, None])
    with fake_quantized(nn.ModuleDict({"only": linear}), ALL_W8A8):
        assert snr_db(linear(x.float()), y.float()) > 35


def test_observed_ranges_cover_all_calls_and_change_no_output() -> None:
    linear = nn.Linear(1, 1)
    linear.weight.data.fill_(2)
    linear.bias.data.fill_(1)
    net = nn.ModuleDict({"only": linear})
    with observed_ranges(net, ALL_W8A8) as ranges:
        assert linear(torch.tensor([[3.0]])).item() == 7
        assert ranges == {"only": LayerRanges(ActivationRange(0, 3), ActivationRange(0, 7))}
        linear(torch.tensor([[-2.0], [1.0]]))
    assert ranges == {"only": LayerRanges(ActivationRange(-2, 3), ActivationRange(-3, 7))}
    assert "forward" not in vars(linear)


def test_fixed_ranges_of_a_call_give_the_bits_of_that_call() -> None:
    net, x = layers(), normal(2, 3, 6, 6)
    conv = net[0]
    with observed_ranges(conv, ALL_W8A8) as ranges:
        conv(x)
    assert list(ranges) == [""]  # the module itself
    # The output's range is of the exact output; the rounded one may pass it by a step.
    with fake_quantized(conv, ALL_W8A8):
        from_call = conv(x)
    with fake_quantized(conv, ALL_W8A8, ranges=ranges):
        fixed, beyond = conv(x), conv(10 * x)
    step = (ranges[""].output.high - ranges[""].output.low) / 255
    assert (fixed - from_call).abs().max() <= 1.5 * step
    assert beyond.max() <= ranges[""].output.high + step
    assert conv(10 * x).max() > 3 * ranges[""].output.high


def test_missing_range_names_the_layer() -> None:
    net = layers()
    with observed_ranges(net, ALL_W8A8) as ranges:
        net(normal(2, 3, 6, 6))
    del ranges["3"]
    with (
        pytest.raises(ContractError, match=r"activation ranges of 3: .*got none among 1"),
        fake_quantized(net, ALL_W8A8, ranges=ranges),
    ):
        pass
    assert "forward" not in vars(net[0])


def test_only_int8_activations_are_observed() -> None:
    student: Student = small_student().eval()
    policy = precision_policy("w8a8")
    with torch.no_grad(), observed_ranges(student, policy) as ranges:
        for graph in contract.GRAPHS:
            student.graph(graph)(**example_inputs(graph, 256))
    assert set(ranges) == {n for n in quantizable_layers(student) if policy.decide(n).activation_bits == 8}
    block = ranges["image_encoder.patches.blocks.3.depthwise"]
    assert block.input.low == 0
    assert block.input.high <= 6
    assert block.output.low == 0


def test_training_under_int8_wins_back_some_of_what_rounding_lost() -> None:
    edges = nn.Linear(32, 16)  # edge filters: their weights sum to zero, which rounding breaks, on a bright input
    edges.weight.data.copy_(normal(16, 32))
    edges.weight.data.sub_(edges.weight.data.mean(1, keepdim=True))
    x = 3 + 0.2 * normal(64, 32, seed=1)
    net = nn.ModuleDict({"only": edges})
    with torch.no_grad():
        exact = edges(x)

    def quantized() -> Tensor:
        with fake_quantized(net, ALL_W8A8):
            return edges(x)  # type: ignore[no-any-return]

    before = snr_db(exact, quantized())
    optimizer = torch.optim.SGD(edges.parameters(), lr=5e-4)
    for _ in range(3):
        optimizer.zero_grad()
        ((quantized() - exact) ** 2).sum(1).mean().backward()
        optimizer.step()
    assert snr_db(exact, quantized()) > before + 3
