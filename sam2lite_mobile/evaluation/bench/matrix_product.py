"""The machine's floating-point peak as a program can reach it: a large product of matrices, in every round.

Three libraries compute the same product; the fastest one on this machine stands for the peak. Rates and shares are
taken on the processor clock, so they are those of one thread, whatever threads a library starts.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.utils.mkldnn import MkldnnLinear

from sam2lite_mobile.evaluation.bench.clocks import ZERO, Stopwatch
from sam2lite_mobile.evaluation.bench.conditions import SPREADING
from sam2lite_mobile.evaluation.bench.subjects import TOTAL, FrameTimes, SubjectFacts
from sam2lite_mobile.runtime.engine import EngineDescription

NAME = "matrix product"
SIDE = 1024
"""Rows and columns of the float32 factors: 12 MB in all, 2.1 G operations."""
OPERATIONS = 2 * SIDE**3
"""Of one product; a multiply-add is two."""
SCOPE = f"one product of two float32 matrices of {SIDE} x {SIDE}, run once before the timer"


class MatrixProduct:
    """A subject that multiplies matrices: every frame is one product by each library, each a part of its own."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        left, right = (torch.randn(SIDE, SIDE, generator=generator) for _ in range(2))
        self._products: dict[str, Callable[[], object]] = {
            "torch.mm": lambda: torch.mm(left, right),
            "numpy": lambda: np.matmul(left.numpy(), right.numpy()),
        }
        if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            linear = nn.Linear(SIDE, SIDE, bias=False)
            linear.weight.data.copy_(right.T)
            self._products["oneDNN"] = _partial(MkldnnLinear(linear, torch.float), left)
        self._watch = Stopwatch()
        engine = EngineDescription(NAME, "fp32", torch.get_num_threads(), str(torch.__version__))
        self.facts = SubjectFacts(NAME, SIDE, None, 0, engine, SCOPE)

    def prepare(self) -> None:
        """Run one frame."""
        self.step()

    @torch.inference_mode()
    def step(self) -> FrameTimes:
        """One product by each library."""
        for name, product in self._products.items():
            product()  # what ran before has emptied the caches
            with self._watch.part(name):
                product()
        parts = self._watch.take()
        parts[TOTAL] = sum(parts.values(), ZERO)
        return FrameTimes(parts, {}, remembered=True)


def _partial(module: nn.Module, left: torch.Tensor) -> Callable[[], object]:
    return lambda: module(left)


@dataclass(frozen=True)
class MachinePeak:
    """The fastest library and its median rate, in 10^9 operations a second of processor time."""

    library: str
    gflops: float
    cpu_ms: tuple[float, ...]


def machine_peak(frames: Sequence[FrameTimes]) -> MachinePeak:
    """The peak that the frames of a `MatrixProduct` reached; `cpu_ms` is the best library's time, round by round."""
    times: Mapping[str, list[float]] = {
        name: [frame.parts[name].cpu_ms for frame in frames] for name in frames[0].parts if name != TOTAL
    }
    best = min(times, key=lambda name: statistics.median(times[name]))
    return MachinePeak(best, OPERATIONS / statistics.median(times[best]) / 1e6, tuple(times[best]))


def peak_notes(frames: Sequence[FrameTimes], *, threads: int) -> list[str]:
    """A note if a library used more threads than allowed: its rate for each of them is then that of a shared core."""
    notes = []
    for name in frames[0].parts:
        used = statistics.median(frame.parts[name].cpu_ms / frame.parts[name].wall_ms for frame in frames)
        if name != TOTAL and used > SPREADING * threads:
            notes.append(
                f"the matrix product of {name} used {used:.1f} processors where {threads} were allowed: set "
                f"OMP_NUM_THREADS={threads}, or shares of the machine's peak may come out too high"
            )
    return notes


def peak_share(flops: int, frames: Sequence[FrameTimes], part: str, peak: MachinePeak) -> float:
    """Operations a second of a part over the peak's, on the processor clock: round by round, then the median.

    1 is a part that is one large product of matrices. A round in which the part did not run is left out.
    """
    shares = [
        (flops / frame.parts[part].cpu_ms) / (OPERATIONS / product_ms)
        for frame, product_ms in zip(frames, peak.cpu_ms, strict=True)
        if part in frame.parts and frame.parts[part].cpu_ms > 0
    ]
    return statistics.median(shares)
