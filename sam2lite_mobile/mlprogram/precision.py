"""How results are rounded, and what rounding loses: the three precisions and their counters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.mlprogram.types import DType

Precision = Literal["declared", "fp32", "pessimistic"]
"""`declared`: each result is rounded to the type that the program declares; arithmetic inside an operation is float32.
`fp32`: nothing is rounded (constants stay as stored). `pessimistic`: as declared, and operations that declare fp16
also accumulate in fp16 (see ops/accumulation.py)."""

_NARROW = {"fp16": torch.float16, "bf16": torch.bfloat16}
_INFINITY_BITS = 0xF800  # of fp16, with the sign shifted out


@dataclass
class Events:
    """What happened to the results of one operation over all runs, in elements.

    overflowed: finite before rounding, infinite after. flushed: not zero before rounding, zero after.
    saturated: outside the integer range of a quantize operation.
    """

    name: str
    op: str
    overflowed: int = 0
    flushed: int = 0
    saturated: int = 0

    def add_saturated(self, count: int) -> None:
        """Adds clipped results."""
        self.saturated += count

    @property
    def any(self) -> bool:
        """True where anything was lost."""
        return bool(self.overflowed or self.flushed or self.saturated)


@dataclass(frozen=True)
class Report:
    """Losses by operation, in program order; operations that lost nothing are left out."""

    precision: Precision
    runs: int
    events: tuple[Events, ...]

    @property
    def overflowed(self) -> int:
        """Elements that became infinite, over all operations and runs."""
        return sum(event.overflowed for event in self.events)

    @property
    def flushed(self) -> int:
        """Elements that became zero."""
        return sum(event.flushed for event in self.events)

    @property
    def saturated(self) -> int:
        """Elements that a quantize operation clipped."""
        return sum(event.saturated for event in self.events)


def check_precision(precision: str) -> None:
    """Raises ContractError for a precision that does not exist."""
    if precision not in get_args(Precision):
        raise ContractError(
            explain("precision", expected=", ".join(get_args(Precision)), got=repr(precision), do="name one of these")
        )


def rounding(dtype: DType, *, in_place: bool, events: Events) -> Callable[[Tensor], Tensor] | None:
    """A function that rounds a float32 tensor to `dtype` and counts the losses; None where there is nothing to round.

    `in_place` writes into the tensor, which must then belong to nobody else.
    """
    if dtype.name == "fp16":
        return _in_place_fp16(events) if in_place else _copying_fp16(events)
    narrow = _NARROW.get(dtype.name)
    if narrow is None:
        return None
    return lambda x: x.to(narrow).to(torch.float32) if x.is_floating_point() else x


def _in_place_fp16(events: Events) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        half = x.to(torch.float16)
        _count(x, half, events)
        return x.copy_(half)

    return run


def _copying_fp16(events: Events) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        half = x.to(torch.float16)
        _count(x, half, events)
        return half.to(torch.float32)

    return run


def _count(x: Tensor, half: Tensor, events: Events) -> None:
    """Looks at the fp16 bits first (fast, and mostly enough), at `x` only where zeros or infinities came out."""
    magnitude = half.numpy().view(np.uint16) << 1
    if magnitude.size == 0:
        return
    zeros = magnitude.size - int(np.count_nonzero(magnitude))
    if zeros:
        events.flushed += zeros - (x.numel() - int(torch.count_nonzero(x)))
    if magnitude.max() >= _INFINITY_BITS:
        events.overflowed += int(np.count_nonzero(magnitude == _INFINITY_BITS)) - int(torch.isinf(x).sum())
