"""Integers of weights and activations as the converters write them: the same values that training rounds to."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.ranges import ActivationRange


def int8_weight(
    values: NDArray[np.float32], *, axis: int, scale_type: type[np.floating[Any]] = np.float32
) -> tuple[NDArray[np.int8], NDArray[Any]]:
    """Integers of a weight and the scale of each channel along `axis`, as training rounds them (`int8.py`).

    scale_type: of the scales as they are stored; the integers are those that they give.
    """
    channels_first = torch.from_numpy(np.moveaxis(values, axis, 0).copy())
    scales = stored_scale(int8.weight_scale(channels_first).numpy(), scale_type)
    divisor = torch.from_numpy(scales.astype(np.float32)).view(-1, *[1] * (channels_first.dim() - 1))
    integers = torch.clamp(torch.round(channels_first / divisor), int8.WEIGHT_LOW, int8.WEIGHT_HIGH)
    back = np.moveaxis(integers.to(torch.int8).numpy(), 0, axis)
    return np.ascontiguousarray(back), scales


def int8_activation(limits: ActivationRange, *, symmetric: bool) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Scale and zero point of an activation, both of shape ().

    As training has them (`int8.py`) but for uint8: the values are the same, the integers 128 higher. symmetric: int8
    with zero point 0 and the larger of both bounds at 127.
    """
    if symmetric:
        largest = max(-limits.low, limits.high) / int8.ACTIVATION_HIGH
        return np.asarray(np.float32(max(largest, int8.SMALLEST_SCALE))), np.asarray(0, np.int8)
    steps = int8.ACTIVATION_HIGH - int8.ACTIVATION_LOW
    scale = np.float32(max((limits.high - limits.low) / steps, int8.SMALLEST_SCALE))
    zero = np.clip(np.rint(int8.ACTIVATION_LOW - limits.low / scale), int8.ACTIVATION_LOW, int8.ACTIVATION_HIGH)
    return np.asarray(scale), np.asarray(zero - int8.ACTIVATION_LOW, np.uint8)


def int8_range(
    limits: ActivationRange, *, scale_type: type[np.floating[Any]] = np.float32
) -> tuple[NDArray[Any], NDArray[np.int8]]:
    """Scale and zero point of an int8 activation as training has them (`int8.py`), both of shape ().

    scale_type: of the scale as it is stored; the zero point is the one that it gives.
    """
    steps = int8.ACTIVATION_HIGH - int8.ACTIVATION_LOW
    largest = np.float32(max((limits.high - limits.low) / steps, int8.SMALLEST_SCALE))
    scale = stored_scale(largest, scale_type)
    zero = np.rint(int8.ACTIVATION_LOW - limits.low / np.float32(scale))
    return scale, np.asarray(np.clip(zero, int8.ACTIVATION_LOW, int8.ACTIVATION_HIGH), np.int8)


def stored_scale(scale: Any, scale_type: type[np.floating[Any]]) -> NDArray[Any]:
    """A float32 scale in another float type: the next one that is no smaller, so that nothing is clipped, and never 0.

    float16 has steps of 2^-24 below 2^-14, which is also its smallest number.
    """
    stored = np.asarray(scale, scale_type)
    short = stored.astype(np.float32) < np.asarray(scale, np.float32)
    return np.maximum(np.where(short, np.nextafter(stored, scale_type(np.inf)), stored), scale_type(2.0**-24))
