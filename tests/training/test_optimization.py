"""Parameter groups, the learning rate over a run, and the averaged student."""

from __future__ import annotations

import math

import msgspec
import pytest
import torch

from sam2lite_mobile.training.distillation import ReadoutProjection
from sam2lite_mobile.training.optimization import (
    FIRST_TUNED_STEM_BLOCK,
    build_optimizer,
    learning_rate,
    prepare_step,
    stem_parameter,
    update_average,
)
from sam2lite_mobile.training.recipe import Phase, Recipe
from tests.training.short_runs import short_recipe, small_student

LONG = Recipe("long", "nano", (Phase(4000, 2),), batch_clips=4, warmup_steps=100, learning_rate=2e-3, final_share=0.05)


def test_rate_rises_linearly_and_then_follows_a_cosine_to_the_final_share() -> None:
    assert LONG.steps == 1000
    assert learning_rate(LONG, 0) == pytest.approx(2e-3 / 100)

    def cosine(step: int) -> float:
        return 2e-3 * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / 1000)))

    assert learning_rate(LONG, 49) == pytest.approx(cosine(49) / 2)
    assert learning_rate(LONG, 99) == pytest.approx(cosine(99))
    assert learning_rate(LONG, 500) == pytest.approx(2e-3 * 0.525)
    assert learning_rate(LONG, 999) == pytest.approx(2e-3 * 0.05, rel=1e-3)
    rates = [learning_rate(LONG, step) for step in range(1000)]
    assert rates.index(max(rates)) in (98, 99, 100)
    assert rates[:99] == sorted(rates[:99])
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_run_without_warm_up_begins_at_the_full_rate() -> None:
    assert learning_rate(short_recipe(warmup_steps=0, learning_rate=0.25), 0) == 0.25


def test_every_trained_parameter_is_in_one_group_and_only_matrices_decay() -> None:
    student = small_student()
    optimizer = build_optimizer(student, short_recipe(stem="imagenet", weight_decay=0.125, stem_rate_share=0.25))
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(group_of)
    for name, parameter in student.named_parameters():
        block, group = stem_parameter(name), group_of.get(id(parameter))
        if block is not None and block < FIRST_TUNED_STEM_BLOCK:
            assert group is None, name
            assert not parameter.requires_grad, name
            continue
        assert group is not None, name
        decay, share = (0.0, 0.25) if block is not None else (0.125 if parameter.dim() > 1 else 0.0, 1.0)
        assert (group["weight_decay"], group["share"]) == (decay, share), name


def test_random_stem_is_trained_like_everything_else() -> None:
    student = small_student()
    optimizer = build_optimizer(student, short_recipe(stem="random"))
    assert {group["share"] for group in optimizer.param_groups} == {1.0}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(student.parameters()))
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_later_stem_blocks_are_released_at_their_step_and_groups_get_their_share_of_the_rate() -> None:
    student = small_student()
    recipe = short_recipe(stem="imagenet", tune_stem_after=0.5, stem_rate_share=0.25)
    optimizer = build_optimizer(student, recipe)
    for step, tuned in ((0, False), (1, False), (2, True), (3, True), (1, False)):
        prepare_step(student, optimizer, recipe, step=step)
        for name, parameter in student.named_parameters():
            block = stem_parameter(name)
            assert parameter.requires_grad is (block is None or (tuned and block >= FIRST_TUNED_STEM_BLOCK)), name
        rate = learning_rate(recipe, step)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate, rate, rate / 4])


def test_block_of_a_stem_parameter_is_read_from_its_name() -> None:
    assert stem_parameter("image_encoder.patches.blocks.10.project.weight") == 10
    assert stem_parameter("image_encoder.patches.stem.bias") == -1
    assert stem_parameter("image_encoder.blocks.1.mlp.0.weight") is None
    assert stem_parameter("token_gate.score.bias") is None


def test_average_follows_young_runs_fast_and_old_ones_by_its_decay() -> None:
    average, student = small_student(0), small_student(1)
    expected = {name: value.clone() for name, value in average.named_parameters()}
    weights = dict(student.named_parameters())
    # (step + 1) / (step + 10) is 0.1 and 0.18 at first; far into a run the decay is the smaller one.
    for step, kept in ((0, 1 / 10), (1, 2 / 11), (10_000, 0.9)):
        update_average(average, student, decay=0.9, step=step)
        expected = {name: kept * value + (1 - kept) * weights[name] for name, value in expected.items()}
    for name, value in average.named_parameters():
        torch.testing.assert_close(value, expected[name], msg=name)
        assert value.requires_grad


def test_exponential_schedule_falls_by_the_same_factor_in_every_part_of_the_run() -> None:
    recipe = msgspec.structs.replace(LONG, schedule="exponential", final_share=0.01)
    assert learning_rate(recipe, 500) == pytest.approx(2e-3 * 0.1)
    assert learning_rate(recipe, 750) / learning_rate(recipe, 500) == pytest.approx(0.01**0.25)


def test_phase_with_a_rate_of_its_own_has_a_schedule_of_its_own() -> None:
    phases = (Phase(400, 2), Phase(400, 2, learning_rate=1e-4), Phase(400, 2, learning_rate=1e-5))
    recipe = msgspec.structs.replace(LONG, phases=phases, schedule="exponential", final_share=0.25, warmup_steps=0)
    assert [learning_rate(recipe, step) for step in (100, 200)] == pytest.approx([1e-4, 1e-5])
    assert learning_rate(recipe, 150) == pytest.approx(1e-4 * 0.5)  # half way to a quarter
    assert learning_rate(recipe, 299) == pytest.approx(1e-5 * 0.25 ** (99 / 100))
    # The first phase follows the recipe's rate, over the steps of the whole run.
    assert learning_rate(recipe, 75) == pytest.approx(2e-3 * 0.25**0.25)


def test_projection_of_readouts_is_trained_beside_the_student_at_the_full_rate() -> None:
    projection = ReadoutProjection(4, 3)
    optimizer = build_optimizer(small_student(), short_recipe(), projection=projection)
    group = next(g for g in optimizer.param_groups if any(p is projection.linear.weight for p in g["params"]))
    assert group["share"] == 1
    assert group["weight_decay"] == short_recipe().weight_decay


def test_gate_alone_is_trained_where_the_recipe_says_so_and_the_stem_stays_frozen() -> None:
    student, recipe = small_student(), short_recipe(stem="imagenet", trains="gate", memory="bank", tune_stem_after=0)
    optimizer = build_optimizer(student, recipe)
    prepare_step(student, optimizer, recipe, step=3)
    trained = {name for name, parameter in student.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in student.named_parameters() if name.startswith("token_gate.")}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained)
