"""What is timed: a subject runs one frame at a time and says where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sam2lite_mobile.contract import BANK_TOKENS
from sam2lite_mobile.evaluation.bench.clocks import Times
from sam2lite_mobile.runtime.engine import EngineDescription

TOTAL, HOST = "total", "host"
"""Parts that are not graphs: the whole frame, and what happens outside the engine."""
TORCH, EAGER = "torch", "eager"
"""Runtimes that are no package's: our torch engine, and PyTorch without its tuning."""
PEER = "edgetam@1024"
"""Name of the peer's subject."""


@dataclass(frozen=True)
class FrameTimes:
    """One frame. parts: times by part, TOTAL among them. host_ms: wall time of the host's stages, where there are any.

    remembered: whether the frame was written to memory; one that was not did less work.
    """

    parts: Mapping[str, Times]
    host_ms: Mapping[str, float]
    remembered: bool


@dataclass(frozen=True)
class Variant:
    """A student as something runs it: what subjects of one run are compared by.

    runtime: `torch` (our engine with its tuned copies), `eager` (the student as it is written), or that of a package.
    recipe: precision recipe, `fp32` for both of torch's.
    """

    student: str
    runtime: str
    recipe: str = "fp32"

    def name(self, size: int, *, bank_tokens: int = BANK_TOKENS, objects: int = 1) -> str:
        """How a subject is called: `tiny@512` on our torch engine, `tiny eager@512`, `tiny tflite w8a8@512`.

        Another budget than the contract's and more than one object are added: `tiny@512, 128 tokens, 2 objects`.
        """
        words = [self.student]
        if self.runtime != TORCH:
            words.append(self.runtime)
        if self.runtime not in (TORCH, EAGER):
            words.append(self.recipe)
        budget = "" if bank_tokens == BANK_TOKENS else f", {bank_tokens} tokens"
        return f"{' '.join(words)}@{size}{budget}{'' if objects == 1 else f', {objects} objects'}"


@dataclass(frozen=True)
class SubjectFacts:
    """What a subject is. size: side of the input in pixels. bank_tokens: of its full memory. scope: what is timed.

    variant: None for the peer. disk_bytes: of a package's models, None without a package. checkpoint_sha256: of the
    weights, None for random ones.
    """

    name: str
    size: int
    parameters: int | None
    bank_tokens: int
    engine: EngineDescription
    scope: str
    variant: Variant | None = None
    disk_bytes: int | None = None
    checkpoint_sha256: str | None = None


class Subject(Protocol):
    """One model at one input size on the clip."""

    @property
    def facts(self) -> SubjectFacts:
        """What it is."""
        ...

    def prepare(self) -> None:
        """Run frames until the memory is full, so that every later frame does the same work."""
        ...

    def step(self) -> FrameTimes:
        """Run the next frame."""
        ...
