"""The limits of the benchmark, in one table: what a frame may cost."""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.evaluation.bench.subjects import HOST


@dataclass(frozen=True)
class RatioLimit:
    """Largest median ratio of a subject's whole frame to the peer's, in the same rounds, on the wall clock."""

    subject: str
    limit: float


@dataclass(frozen=True)
class PartLimit:
    """Largest median time of a part of a subject, in milliseconds on the wall clock."""

    subject: str
    part: str
    limit_ms: float


RATIO_LIMITS = (RatioLimit("tiny@512", 0.14), RatioLimit("nano@512", 0.07))
PART_LIMITS = (PartLimit("tiny@512", HOST, 5.0), PartLimit("nano@512", HOST, 5.0))
