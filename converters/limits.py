"""The limits of every gate, in one table: what honest conversions reach, less 6 dB, or the project's own demand.

Structural first: an fp32 artifact must match PyTorch to rounding, since small structural faults hide under the noise of
fp16. Then the shipped precision has limits of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Limit:
    """A bound on a measure."""

    measure: str
    bound: Literal["at_least", "at_most"]
    value: float

    def holds(self, measured: float) -> bool:
        """Whether a measured value is within the limit; NaN never is."""
        return measured >= self.value if self.bound == "at_least" else measured <= self.value


SNR = "snr_db"
"""10 log10(sum ref^2 / sum (ref - out)^2) of an output against PyTorch in float32."""
WORST_IOU = "worst_mask_iou"
"""IoU of the masks of both engines on the worst frame of a clip, each fed with its own memory."""

GRAPH_LIMITS: dict[str, dict[str, float]] = {
    # precision -> graph -> dB; the measured minimum over outputs and sizes stands behind each.
    "fp32": {
        "image_encoder": 100.0,
        "prompt_encoder": 100.0,
        "mask_decoder": 100.0,
        "memory_encoder": 100.0,
        "token_gate": 100.0,
    },
    "fp16": {
        "image_encoder": 45.0,
        "prompt_encoder": 100.0,
        "mask_decoder": 45.0,
        "memory_encoder": 45.0,
        "token_gate": 45.0,
    },
}

CLIP_LIMITS: dict[str, float] = {"fp32": 0.999, "fp16": 0.99}
"""Worst mask IoU of a chained clip by precision."""

LARGEST_JF_LOSS = 0.1
"""J&F points that the shipped precision may lose on the dev split, prompt mask, full size."""


def graph_limit(precision: str, graph: str) -> Limit:
    """The limit on every output of a graph."""
    return Limit(SNR, "at_least", GRAPH_LIMITS[precision][graph])


def clip_limit(precision: str) -> Limit:
    """The limit on a chained clip."""
    return Limit(WORST_IOU, "at_least", CLIP_LIMITS[precision])
