"""Ranges of activations: from the call at hand, or observed over many calls and fixed.

An int8 activation needs a range [low, high], which decides its step. There are three ways to have one in training:

1. From each call, the default of `fake_quantized`. It has no state, so a run that stops and resumes is the same bit for
   bit and a checkpoint holds the student alone. The range follows the weights as they change.
2. Fixed: `observed_ranges` over some calls, then `fake_quantized(..., ranges=...)`. This is what all four targets run:
   their converters calibrate once. Values beyond the range saturate and get no gradient.
3. A moving average (Jacob et al. 2018, section 3.1). It is state outside of the student that would have to be saved,
   averaged and resumed with it; not offered.

Training with 1 and shipping 2 means: a calibrated range covers every frame of the calibration, a call's only its own,
so the shipped step is the larger one. A training call sees a whole batch (the image encoder all frames of all clips),
which narrows the gap; a single frame at inference sees the most flattering range. So train with 1, and measure a
recipe with 2, as a converter would. The range of a call also ties its samples together: the same batch in smaller
pieces or on more processes rounds a little differently.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sam2lite_mobile.quantization.int8 import tensor_range
from sam2lite_mobile.quantization.policy import Policy, quantizable_layers
from sam2lite_mobile.quantization.replaced_forward import Forward, replaced_forward
from sam2lite_mobile.quantization.rules import FusedActivation


@dataclass(frozen=True)
class ActivationRange:
    """Closed range of a tensor's values in its own unit; low <= 0 <= high, so that 0 is exact."""

    low: float
    high: float

    def union(self, other: ActivationRange) -> ActivationRange:
        """The smallest range that holds both."""
        return ActivationRange(min(self.low, other.low), max(self.high, other.high))

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """(low, high), each float32 ()."""
        return torch.tensor(self.low, device=device), torch.tensor(self.high, device=device)


@dataclass(frozen=True)
class LayerRanges:
    """Ranges of a layer's input and of its output, the latter after the activation that is fused with the layer."""

    input: ActivationRange
    output: ActivationRange

    def union(self, other: LayerRanges) -> LayerRanges:
        """The smallest ranges that hold both."""
        return LayerRanges(self.input.union(other.input), self.output.union(other.output))


def output_range(x: Tensor, fused: FusedActivation | None) -> tuple[Tensor, Tensor]:
    """(low, high) of a layer's output, each float32 (): of what leaves the fused activation, where there is one."""
    return tensor_range(x, lowest=fused.low if fused else None, highest=fused.high if fused else None)


@contextmanager
def observed_ranges(student: nn.Module, policy: Policy) -> Iterator[dict[str, LayerRanges]]:
    """Within the block, the ranges of every layer with 8-bit activations are collected, by module name.

    Gives a dictionary that grows with the calls: least and greatest value over all of them. Outputs do not change.
    Run a calibration set in it, real frames with real memory in the middle of a video.
    """
    collected: dict[str, LayerRanges] = {}
    replacements: dict[nn.Module, Forward] = {}
    for name, layer in quantizable_layers(student).items():
        if policy.decide(name).activation_bits == 8:
            replacements[layer] = functools.partial(
                _call_and_observe, collected, name, layer.forward, policy.fused_activation(name)
            )
    with replaced_forward(replacements):
        yield collected


def _call_and_observe(
    collected: dict[str, LayerRanges], name: str, forward: Forward, fused: FusedActivation | None, x: Tensor
) -> Tensor:
    y = forward(x)
    seen = LayerRanges(_floats(tensor_range(x)), _floats(output_range(y, fused)))
    collected[name] = collected[name].union(seen) if name in collected else seen
    return y


def _floats(bounds: tuple[Tensor, Tensor]) -> ActivationRange:
    return ActivationRange(float(bounds[0]), float(bounds[1]))
