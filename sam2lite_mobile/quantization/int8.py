"""The int8 formulas that training and every converter share, and their fake quantization with gradients.

real = scale * (integer - zero_point)                             (Jacob et al. 2018, arXiv 1712.05877, equation 1)
integer = clamp(round_half_to_even(real / scale) + zero_point)    (ONNX QuantizeLinear)

Weights: one scale for each output channel, scale = max |w| / 127, zero_point = 0, integers -127..127.
Activations: one scale for a tensor, scale = (high - low) / 255, zero_point = round(-128 - low / scale), integers
-128..127, where [low, high] is widened to hold 0, so that padding and ReLU's zero are exact.

This is the LiteRT 8-bit specification (per-axis weights in [-127, 127] with zero point 0, per-tensor activations in
[-128, 127]), which is also what XNNPACK, ONNX QuantizeLinear and Core ML's `quantize` take: of the four it is the
narrowest. Biases are left in float: targets keep them in int32 with scale input * weight, which is finer by far.

Gradients pass straight through rounding and are zero where a value was clamped (torch's operators; Jacob et al. 2018,
section 3). Scales and ranges get no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

WEIGHT_LOW, WEIGHT_HIGH = -127, 127
ACTIVATION_LOW, ACTIVATION_HIGH = -128, 127
SMALLEST_SCALE = 2.0**-24
"""Scale of a channel or tensor that is all zero: any positive number gives zeros back; half precision still has it."""


def weight_scale(weight: Tensor) -> Tensor:
    """Scale of each output channel: float32 (channels,). weight: (channels, ...)."""
    largest = weight.detach().float().abs().flatten(1).amax(1)
    return (largest / WEIGHT_HIGH).clamp(min=SMALLEST_SCALE)


def fake_quantized_weight(weight: Tensor) -> Tensor:
    """The weight after int8 and back: float32, of the same shape (channels, ...)."""
    scale = weight_scale(weight)
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight.float(), scale, zero_point, 0, WEIGHT_LOW, WEIGHT_HIGH)


def tensor_range(x: Tensor, *, lowest: float | None = None, highest: float | None = None) -> tuple[Tensor, Tensor]:
    """(low, high) of a tensor's values, each float32 (), low <= 0 <= high. No gradient.

    lowest, highest: bounds of the activation that follows x and is fused with it; values beyond come out clamped.
    """
    low, high = x.detach().float().aminmax()
    low, high = low.clamp(max=0), high.clamp(min=0)
    return low.clamp(min=lowest) if lowest is not None else low, high.clamp(
        max=highest
    ) if highest is not None else high


def fake_quantized_activation(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The activation after int8 and back: float32, of the same shape. low, high: its range, float32 (), around 0."""
    scale = ((high - low) / (ACTIVATION_HIGH - ACTIVATION_LOW)).clamp(min=SMALLEST_SCALE)
    zero_point = torch.round(ACTIVATION_LOW - low / scale).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero_point, ACTIVATION_LOW, ACTIVATION_HIGH)
