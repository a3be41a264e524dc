"""What the variants of the distillation suite change, and that they change nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sam2lite_mobile.evaluation.selection import Selection
from sam2lite_mobile.training.ablation.suite_run import variant_recipe
from sam2lite_mobile.training.ablation.suites import DISTILLATION, FULL, SUITES, without
from sam2lite_mobile.training.recipe import Recipe
from tests.training.short_runs import short_recipe

CHANGES: dict[str, dict[str, Any]] = {
    FULL: {},
    "no_attention": {"distillation.attention_weight": 0},
    "no_readout": {"distillation.readout_weight": 0},
    "masks_only": {"distillation.attention_weight": 0, "distillation.readout_weight": 0},
    "fifo": {"selection": "fifo"},
    "no_teacher": {"distillation": None},
    "plain_patches": {"patch_embed": "plain", "stem": "random"},
}


def flat(recipe: Recipe) -> dict[str, Any]:
    """Fields by dotted name."""
    fields: dict[str, Any] = msgspec.to_builtins(recipe)
    taught = fields.pop("distillation")
    if taught is None:
        return fields | {"distillation": None}
    return fields | {f"distillation.{name}": value for name, value in taught.items()}


@pytest.mark.parametrize("name", CHANGES)
def test_variant_changes_its_own_fields_alone(name: str) -> None:
    base = DISTILLATION.base()
    variant = next(variant for variant in DISTILLATION.variants if variant.name == name)
    before, after = flat(base), flat(variant.change(base))
    if after.get("distillation", ...) is None:
        before = {k: v for k, v in before.items() if not k.startswith("distillation")}
    assert {key: value for key, value in after.items() if before.get(key, ...) != value} == CHANGES[name]


def test_suite_has_the_variants_of_the_methodology_with_the_full_recipe_first() -> None:
    assert [variant.name for variant in DISTILLATION.variants] == list(CHANGES)
    assert {variant.name: variant.published for variant in DISTILLATION.variants} == {
        FULL: None,
        "no_attention": -2.9,
        "no_readout": -1.7,
        "masks_only": -4.5,
        "fifo": -3.3,
        "no_teacher": -6.6,
        "plain_patches": None,
    }
    assert SUITES["distillation"] is DISTILLATION


def test_base_recipe_is_short_taught_and_uses_what_the_variants_switch_off() -> None:
    base = DISTILLATION.base()
    assert base.distillation is not None
    assert base.distillation.attention_weight > 0
    assert base.distillation.readout_weight > 0
    assert base.selection is Selection.GATE
    assert any(phase.memory == "bank" for phase in base.phases)  # else gate and FIFO would train the same student
    assert sum(phase.clips for phase in base.phases) <= 1000
    assert base.hold_out


def test_run_of_a_variant_has_a_name_and_a_seed_of_its_own() -> None:
    base = DISTILLATION.base()
    recipes = [variant_recipe(base, v, seed=seed) for v in DISTILLATION.variants for seed in (0, 1)]
    assert len({recipe.digest() for recipe in recipes}) == len(recipes)
    assert recipes[3].name == "ablation_distillation-no_attention"
    assert recipes[3].seed == 1


def test_weights_of_a_recipe_without_a_teacher_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="needs a base recipe with a teacher"):
        without(attention_weight=0)(short_recipe())
