"""What a build is asked for, the same for every target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.quantization.recipe_names import checked_recipe


@dataclass(frozen=True)
class BuildOptions:
    """A build: the checkpoint, how precise, for which sizes, and where it goes.

    gate_frames: frames of the sample clip, tracked at every size. accuracy_frames: frames of each annotated sequence
    that both engines track at the largest size, all if None. workers: processes that convert or track at the same time,
    one thread each.
    """

    checkpoint: Path
    out: Path
    recipe: str = "fp16"
    sizes: tuple[int, ...] = contract.SIZES
    bank_tokens: int = contract.BANK_TOKENS
    gate_frames: int = 24
    accuracy_frames: int | None = None
    workers: int = 2
    force: bool = False

    def __post_init__(self) -> None:
        checked_recipe(self.recipe)
        unknown = [size for size in self.sizes if size not in contract.SIZES]
        if unknown or not self.sizes or tuple(sorted(set(self.sizes))) != self.sizes:
            raise ContractError(
                explain("sizes", expected=f"ascending, out of {contract.SIZES}", got=self.sizes, do="correct --sizes")
            )
        for name, frames in (("gate frames", self.gate_frames), ("accuracy frames", self.accuracy_frames)):
            if frames is not None and frames < contract.WINDOW_MAX * 3:
                raise ContractError(
                    explain(
                        name,
                        expected=f"at least {contract.WINDOW_MAX * 3}, three times what fills the memory window",
                        got=frames,
                        do="use more frames",
                    )
                )


def _silent(message: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class Reporter:
    """Where a build says what it does: `note` for a finished step, `stage` when a longer one begins."""

    note: Callable[[str], None] = field(default=_silent)
    stage: Callable[[str], None] = field(default=_silent)
