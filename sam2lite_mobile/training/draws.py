"""Random draws of a training step: the same for a clip, however a batch is shared out between processes and pieces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Draws for some `rows` of a batch of `all_rows`, from a seeded generator on the CPU.

    What holds for the whole batch is drawn once; what differs between clips is drawn for all rows, and the own ones are
    taken. So two parts of a batch agree on the former, and together have the latter of the whole.
    """

    generator: torch.Generator
    rows: range
    all_rows: int
    device: torch.device | None = None
    """Where the draws are used; None: the CPU."""

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return bool(torch.rand((), generator=self.generator) < share)

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def uniform(self, *shape: int) -> Tensor:
        """float32 (rows, *shape) in 0..1, on the device."""
        drawn = torch.rand((self.all_rows, *shape), generator=self.generator)[self.rows.start : self.rows.stop]
        return drawn if self.device is None else drawn.to(self.device)
