"""Fake quantization: a student whose layers compute with int8 weights and activations, for training and measuring.

Why torch's own operators (`int8.py`) and no library's quantizer. Tried with torch 2.13.0:

- torchao 0.18.0 (`torchao.quantization.qat`): `IntxFakeQuantizer` refuses a range for a whole tensor ("Granularity
  'PerTensor()' is not supported"), asserts two-dimensional weights, so no Conv2d, and its symmetric scale is
  max / 127.5 with integers -128..127, which LiteRT and XNNPACK do not take for weights.
- coremltools 9.0 (`optimize.torch.quantization.LinearQuantizer`): traces the module symbolically; image encoder, mask
  decoder and memory encoder, which choose tables by input size, cannot be traced. The token gate, which can, becomes a
  GraphModule with 98 entries more in its state_dict: observers that a checkpoint would have to carry.

Here `forward` is replaced on the layers' instances for the length of a block. Parameters, types and state_dict are
untouched, so checkpoints, weight averaging and resuming need to know nothing of quantization.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.quantization.int8 import fake_quantized_activation, fake_quantized_weight
from sam2lite_mobile.quantization.policy import Policy, quantizable_layers
from sam2lite_mobile.quantization.ranges import ActivationRange, LayerRanges, output_range
from sam2lite_mobile.quantization.replaced_forward import Forward, replaced_forward
from sam2lite_mobile.quantization.rules import FusedActivation


@contextmanager
def fake_quantized(
    student: nn.Module, policy: Policy, *, ranges: Mapping[str, LayerRanges] | None = None
) -> Iterator[None]:
    """Within the block, the student's layers compute as the policy's integers would, in float, with gradients.

    A layer with 8-bit weights rounds them per output channel. One with 8-bit activations also rounds its input and its
    output: integer kernels read and write int8. A ReLU that follows at once belongs to the kernel, so the output's
    range ends where the ReLU's does. Every other layer gives the same bits as outside, and so do `fp32` and `fp16`:
    fp16 is not imitated.

    ranges: of every layer with 8-bit activations, by module name, as `observed_ranges` gives them; None takes them from
    each call (`ranges.py` says what follows). Rounding is computed in float32 whatever autocast does; under bfloat16
    the layer then casts the rounded values, which moves them by at most half a step.

    Composes with `float32_inside` around it, and inside it on modules that hold layers (on a layer itself that would
    end the layer's int8 with its own block). Copy no student in the block. Backward may run after it, unless
    activations are computed again. Raises ContractError for missing ranges, and for a recipe with palettes.

    Cost of w8a8, measured with Nano at 256 px, batch 1, one thread: forward and backward take 1.8 times as long in the
    image encoder and 2.8 times in the mask decoder, whose weights are rounded anew at each call.
    """
    replacements: dict[nn.Module, Forward] = {}
    for name, layer in quantizable_layers(student).items():
        decision = policy.decide(name)
        if decision.weight_bits < 8:
            raise ContractError(
                explain(
                    f"training under {policy.recipe}",
                    expected="integers or floats",
                    got=f"a palette for {name}",
                    do="choose w8 or w8a8; palettes are made when a student is converted",
                )
            )
        if decision.weight_bits != 8:
            continue
        fixed = None
        if decision.activation_bits == 8 and ranges is not None:
            fixed = _ranges_of(name, ranges)
        replacements[layer] = functools.partial(
            _call_in_int8, layer, layer.forward, decision.activation_bits == 8, policy.fused_activation(name), fixed
        )
    with replaced_forward(replacements):
        yield


def _call_in_int8(
    layer: nn.Conv2d | nn.Linear,
    forward: Forward,
    activations: bool,
    fused: FusedActivation | None,
    fixed: LayerRanges | None,
    x: Tensor,
) -> Tensor:
    """The layer's output, from rounded weights and, with `activations`, from rounded input, rounded itself."""
    if activations:
        x = _rounded(x, fixed.input if fixed else None, None)
    # Found before the parameter of this name, which stays registered: `forward`, whoever made it, reads this one.
    layer.__dict__["weight"] = fake_quantized_weight(layer.weight)
    try:
        y = forward(x)
    finally:
        del layer.__dict__["weight"]
    if not activations:
        return y
    return _rounded(y, fixed.output if fixed else None, fused).to(y.dtype)


def _rounded(x: Tensor, fixed: ActivationRange | None, fused: FusedActivation | None) -> Tensor:
    low, high = output_range(x, fused) if fixed is None else fixed.tensors(x.device)
    return fake_quantized_activation(x, low, high)


def _ranges_of(name: str, ranges: Mapping[str, LayerRanges]) -> LayerRanges:
    if name not in ranges:
        raise ContractError(
            explain(
                f"activation ranges of {name}",
                expected="one for every layer with 8-bit activations",
                got=f"none among {len(ranges)}",
                do="observe them with the same student and policy, in calls that use every layer",
            )
        )
    return ranges[name]
