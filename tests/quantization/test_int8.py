"""Int8 and back, against values worked out by hand, and the gradients that pass through."""

from __future__ import annotations

import pytest
import torch

from sam2lite_mobile.quantization.int8 import (
    SMALLEST_SCALE,
    fake_quantized_activation,
    fake_quantized_weight,
    tensor_range,
    weight_scale,
)


def test_each_output_channel_has_its_own_scale() -> None:
    weight = torch.tensor([[1.27, -0.634, 0.004, 0.006], [12.7, 0.26, -0.04, -12.74]])
    # Row 0: step 0.01, integers 127, -63, 0, 1. Row 1: largest 12.74, step 12.74 / 127.
    step = 12.74 / 127
    expected = torch.tensor([[1.27, -0.63, 0.0, 0.01], [127 * step, 3 * step, 0.0, -127 * step]])
    torch.testing.assert_close(weight_scale(weight), torch.tensor([0.01, step]))
    expected[1, 0] = 127 * step  # 12.7 / step = 126.6
    torch.testing.assert_close(fake_quantized_weight(weight), expected)


def test_convolution_weights_are_scaled_over_everything_but_the_output_channel() -> None:
    weight = torch.zeros(2, 3, 2, 2)
    weight[0, 2, 1, 0], weight[0, 0, 0, 0] = -2.54, 0.013  # step 0.02: 0.013 is 0.65 steps
    weight[1, 1, 0, 1] = 0.127
    rounded = fake_quantized_weight(weight)
    torch.testing.assert_close(weight_scale(weight), torch.tensor([0.02, 0.001]))
    assert rounded[0, 0, 0, 0].item() == pytest.approx(0.02)
    assert rounded[0, 2, 1, 0].item() == pytest.approx(-2.54)
    assert rounded[1, 1, 0, 1].item() == pytest.approx(0.127)
    assert rounded.count_nonzero() == 3


def test_weights_are_symmetric_so_the_negated_weight_gives_the_negated_result() -> None:
    weight = torch.randn(8, 33, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fake_quantized_weight(-weight), -fake_quantized_weight(weight))
    integers = fake_quantized_weight(weight) / weight_scale(weight)[:, None]
    assert integers.round().abs().amax(1).tolist() == [127] * 8


def test_channel_of_zeros_stays_zero() -> None:
    weight = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    assert weight_scale(weight)[0] == SMALLEST_SCALE
    assert torch.equal(fake_quantized_weight(weight), weight)


def test_activation_range_of_minus_1_to_1_55_has_a_step_of_a_hundredth() -> None:
    x = torch.tensor([-1.0, -0.336, 0.0, 0.004, 0.006, 1.55])
    low, high = tensor_range(x)
    # scale (1.55 + 1) / 255 = 0.01, zero point round(-128 + 100) = -28: integers -128, -62, -28, -28, -27, 127
    expected = torch.tensor([-1.0, -0.34, 0.0, 0.0, 0.01, 1.55])
    torch.testing.assert_close(fake_quantized_activation(x, low, high), expected)


def test_range_is_widened_to_hold_zero_so_that_zero_is_exact() -> None:
    assert [v.item() for v in tensor_range(torch.tensor([2.0, 5.1]))] == [0.0, pytest.approx(5.1)]
    assert [v.item() for v in tensor_range(torch.tensor([-5.1, -2.0]))] == [pytest.approx(-5.1), 0.0]
    x = torch.cat([torch.zeros(1), torch.rand(50, generator=torch.Generator().manual_seed(0)) * 7.3 - 2.9])
    assert fake_quantized_activation(x, *tensor_range(x))[0] == 0


def test_range_ends_where_the_fused_activation_does() -> None:
    x = torch.tensor([-3.0, 2.0, 9.0])
    assert [v.item() for v in tensor_range(x, lowest=0, highest=6)] == [0.0, 6.0]
    assert [v.item() for v in tensor_range(x, lowest=0)] == [0.0, 9.0]
    assert [v.item() for v in tensor_range(x[:2], lowest=0, highest=6)] == [0.0, 2.0]


def test_gradient_passes_rounding_and_stops_at_what_was_clamped() -> None:
    x = torch.tensor([-1.1, -0.996, 0.123, 1.5, 1.7], requires_grad=True)
    y = fake_quantized_activation(x, torch.tensor(-1.0), torch.tensor(1.55))
    (y * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([-1.0, -1.0, 0.12, 1.5, 1.55]))
    assert x.grad is not None
    assert x.grad.tolist() == [0, 2, 3, 4, 0]


def test_gradient_of_a_weight_is_that_of_the_rounded_one() -> None:
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    slope = torch.arange(15.0).view(3, 5)
    (fake_quantized_weight(weight) * slope).sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, slope)


def test_half_precision_is_rounded_in_float32_and_nan_stays_nan() -> None:
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(fake_quantized_weight(weight), fake_quantized_weight(weight.float()))
    assert torch.equal(
        fake_quantized_activation(weight, *tensor_range(weight)),
        fake_quantized_activation(weight.float(), *tensor_range(weight.float())),
    )
    broken = torch.tensor([1.0, float("nan")])
    assert fake_quantized_activation(broken, *tensor_range(broken)).isnan().any()
