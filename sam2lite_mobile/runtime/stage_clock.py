"""Milliseconds by stage of one call of the tracker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

STAGES = (
    "resize",
    "image_encoder",
    "motion",
    "prompt",
    "mask_decoder",
    "memory_encoder",
    "token_gate",
    "bank",
    "masks",
    "total",
)
"""Keys of `latency_ms`, each summed over the objects. Engine stages include the check of the outputs."""


class StageClock:
    """Milliseconds by stage, summed, from a timer in seconds."""

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._started = timer()
        self._latency_ms = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the block for the stage `name`, one of `STAGES`."""
        started = self._timer()
        yield
        self._latency_ms[name] += (self._timer() - started) * 1000

    def stop(self) -> dict[str, float]:
        """All stages, with `total` since construction."""
        self._latency_ms["total"] = (self._timer() - self._started) * 1000
        return self._latency_ms
