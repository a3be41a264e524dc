"""Sensitivity: the layer that is made to suffer comes first, and a layer in float costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2lite_mobile.engines.torch_engine import default_checkpoint
from sam2lite_mobile.evaluation.datasets import sample_clip
from sam2lite_mobile.evaluation.prompted_clip import PromptedClip, read_clip
from sam2lite_mobile.quantization.sensitivity import (
    HIGHEST_DB,
    LayerCost,
    Sensitivity,
    TrackedClip,
    alone,
    logits_db,
)
from sam2lite_mobile.student.checkpoint import load_student
from sam2lite_mobile.student.student import Student
from tests.training.short_runs import small_student

LAYERS = ("image_encoder.enter", "image_encoder.exit", "mask_decoder.head.mix_4", "prompt_encoder.project")


@pytest.fixture
def clip() -> PromptedClip:
    rng = np.random.default_rng(0)
    frames = tuple(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(3))
    mask = np.zeros((64, 96), bool)
    mask[16:40, 24:60] = True
    return PromptedClip("noise", frames, mask)


@pytest.fixture
def student() -> Student:
    made = small_student().eval()
    made.mask_decoder.visibility[2].bias.data.fill_(5)  # an object that is never in view has no masks
    return made


def costs_of(student: Student, clip: PromptedClip) -> dict[str, LayerCost]:
    measured = Sensitivity(student, [clip], recipe="w8", size=256)
    return {cost.layer: cost for cost in measured.of_layers(LAYERS)}


def test_outliers_among_the_weights_of_a_layer_make_it_sensitive(student: Student, clip: PromptedClip) -> None:
    before = costs_of(student, clip)
    with torch.no_grad():
        student.mask_decoder.head.mix_4.weight[:, 0, 0, 0] *= 300  # their scale leaves nothing of the others
    after = costs_of(student, clip)
    assert set(after) == set(LAYERS)
    assert after["mask_decoder.head.mix_4"].logits_db < before["mask_decoder.head.mix_4"].logits_db - 10
    assert min(after.values(), key=lambda cost: cost.logits_db).layer == "mask_decoder.head.mix_4"
    unused = after["prompt_encoder.project"]  # the clip's prompt is a mask, and later frames have none
    assert (unused.logits_db, unused.mean_iou, unused.worst_iou) == (HIGHEST_DB, 1.0, 1.0)
    assert all(0 <= cost.worst_iou <= cost.mean_iou <= 1 for cost in after.values())


def test_student_is_as_before_and_layers_come_in_its_order(student: Student, clip: PromptedClip) -> None:
    before = {name: value.clone() for name, value in student.state_dict().items()}
    costs = list(Sensitivity(student, [clip], recipe="w8a8", size=256).of_layers(reversed(LAYERS[:2])))
    assert [cost.layer for cost in costs] == list(LAYERS[:2])
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert not any("forward" in vars(module) for module in student.modules())


def test_exceptions_of_the_policy_help_the_shipped_student() -> None:
    clip = read_clip(sample_clip(), "blackswan", frames=3)
    student = load_student(default_checkpoint())
    measured = Sensitivity(student, [clip], recipe="w8a8", size=256)
    everything, policy = (measured.of_policy(exceptions=exceptions) for exceptions in (False, True))
    assert policy.logits_db > everything.logits_db
    assert policy.weights < everything.weights


def test_policy_of_one_layer_leaves_the_rest_in_float() -> None:
    policy = alone("image_encoder.enter", "w8a8")
    assert policy.decide("image_encoder.enter").activation_bits == 8
    assert policy.decide("image_encoder.enter_too").weight_bits == 32
    assert policy.decide("image_encoder_enter").weight_bits == 32


def test_decibels_are_of_all_frames_together() -> None:
    def clip_of(*values: float) -> TrackedClip:
        return TrackedClip((), tuple(np.full((1, 1, 2, 2), value, np.float32) for value in values))

    assert logits_db([clip_of(3, 4)], [clip_of(3, 4.5)]) == pytest.approx(20)
    assert logits_db([clip_of(3, 4)], [clip_of(3, 4)]) == HIGHEST_DB
