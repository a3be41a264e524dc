"""What varies from step to step of training, and how much each part of the loss counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sam2lite_mobile import contract
from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.training.recipe import Memory, Phase, Recipe


@dataclass(frozen=True)
class ForwardSettings:
    """What varies from step to step, as shares of all steps.

    prompt_share: the first frame is also decoded from a prompt, with an empty bank. prompted_memory_share: of those,
    the predicted mask is remembered in place of the true one. correction_share: a later frame gets a prompt too.
    Weights of the parts of the loss follow; the mask's is 1. The methodology's for the edge is 0.5 (section 1.3), and
    the budget loss holds its own.

    attention_weight, readout_weight: of the losses against a teacher (methodology section 1.3), where there is one;
    teacher_mask_share: share of its soft mask in the target of the mask loss. quantize: precision recipe whose rounding
    the student is trained under, None for none.

    memory "pair": the first frame's tokens and the last written frame's. prune_share: half of the recent tokens are
    hidden, as the bank's budget does. recent_drop_share: all are.
    memory "bank": the tracker's bank of `budget` tokens. `selection` scores them: the gate with Gumbel noise (without
    it where not `explore`), its temperature going from start to end over the run, or a rule, which trains no gate.
    """

    prompt_share: float = 0.5
    prompted_memory_share: float = 0.3
    correction_share: float = 0.15
    prune_share: float = 0.5
    recent_drop_share: float = 0.1
    quality_weight: float = 0.05
    visibility_weight: float = 0.05
    edge_weight: float = 0.5
    largest_frame_span: int = 8
    memory: Memory = "pair"
    selection: Selection = Selection.GATE
    budget: int = contract.BANK_TOKENS
    temperature_start: float = 1.0
    temperature_end: float = 0.1
    explore: bool = True
    attention_weight: float = 0.3
    readout_weight: float = 0.2
    teacher_mask_share: float = 0.25
    quantize: Literal["w8", "w8a8"] | None = None

    @classmethod
    def of(cls, recipe: Recipe, phase: Phase) -> ForwardSettings:
        """Settings of a phase of a recipe."""
        taught = recipe.distillation
        return cls(
            edge_weight=recipe.edge_weight,
            memory=phase.memory or recipe.memory,
            selection=recipe.selection,
            budget=recipe.budget,
            temperature_start=recipe.temperature_start,
            temperature_end=recipe.temperature_end,
            attention_weight=0 if taught is None else taught.attention_weight,
            readout_weight=0 if taught is None else taught.readout_weight,
            teacher_mask_share=0 if taught is None else taught.mask_share,
            quantize=phase.quantize,
        )
