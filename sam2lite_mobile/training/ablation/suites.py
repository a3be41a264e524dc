"""What an ablation compares: a base recipe, and variants that change one thing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.training.recipe import Distillation, Recipe, load_recipe

FULL = "full"
"""Name of the variant that changes nothing: what the others are compared with."""


@dataclass(frozen=True)
class Variant:
    """One thing that is changed. published: its J&F minus the full recipe's in the methodology (section 7), if any."""

    name: str
    title: str
    change: Callable[[Recipe], Recipe]
    published: float | None = None


@dataclass(frozen=True)
class Suite:
    """A base recipe by name, and its variants, the full one first."""

    name: str
    recipe: str
    variants: tuple[Variant, ...]

    def base(self) -> Recipe:
        """The recipe that the variants change."""
        return load_recipe(self.recipe)


def without(**weights: float) -> Callable[[Recipe], Recipe]:
    """A change that sets weights of the distillation."""

    def change(recipe: Recipe) -> Recipe:
        taught = recipe.distillation
        return msgspec.structs.replace(recipe, distillation=_changed(taught, weights))

    return change


def _changed(taught: Distillation | None, weights: Mapping[str, float]) -> Distillation:
    if taught is None:
        raise ValueError("an ablation of distillation needs a base recipe with a teacher")
    return msgspec.structs.replace(taught, **weights)


DISTILLATION = Suite(
    "distillation",
    "ablation_distillation",
    (
        Variant(FULL, "full", lambda recipe: recipe),
        Variant("no_attention", "without attention matching", without(attention_weight=0), -2.9),
        Variant("no_readout", "without readout matching", without(readout_weight=0), -1.7),
        Variant("masks_only", "without both", without(attention_weight=0, readout_weight=0), -4.5),
        Variant(
            "fifo",
            "FIFO in place of the gate",
            lambda recipe: msgspec.structs.replace(recipe, selection=Selection.FIFO),
            -3.3,
        ),
        Variant(
            "no_teacher",
            "no teacher",
            lambda recipe: msgspec.structs.replace(recipe, distillation=None),
            -6.6,
        ),
        Variant(
            "plain_patches",
            "plain 16 x 16 patches, no ImageNet stem",
            lambda recipe: msgspec.structs.replace(recipe, patch_embed="plain", stem="random"),
        ),
    ),
)

SUITES = {suite.name: suite for suite in (DISTILLATION,)}
