"""Losses against the same formulas in NumPy, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam2lite_mobile.training.losses import (
    EDGE_WINDOW,
    edge_loss,
    hard_iou,
    mask_loss,
    quality_loss,
    visibility_loss,
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def bce(logits: np.ndarray, target: np.ndarray) -> float:
    p = sigmoid(logits)
    return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).mean())


def test_mask_loss_is_bce_plus_one_minus_the_mean_of_each_clips_soft_iou(rng: np.random.Generator) -> None:
    logits = rng.normal(0, 2, (3, 1, 8, 8))
    target = rng.integers(0, 5, (3, 1, 8, 8)) / 4
    target[2] *= 0.1  # a small object counts as much as a large one
    ious = []
    for p, t in zip(sigmoid(logits), target, strict=True):
        ious.append(((p * t).sum() + 1) / ((p + t - p * t).sum() + 1))
    expected = bce(logits, target) + 1 - np.mean(ious)
    assert mask_loss(torch.from_numpy(logits), torch.from_numpy(target)).item() == pytest.approx(expected, abs=1e-12)


def test_empty_prediction_of_an_empty_mask_loses_nothing() -> None:
    logits = torch.full((2, 1, 16, 16), -40.0)
    assert mask_loss(logits, torch.zeros(2, 1, 16, 16)).item() == pytest.approx(0, abs=1e-6)


def test_perfect_mask_loses_nothing_and_the_opposite_one_loses_the_whole_iou() -> None:
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:12, 4:12] = 1
    logits = (2 * target - 1) * 40
    assert mask_loss(logits, target).item() == pytest.approx(0, abs=1e-6)
    # BCE of a logit of 40 on the wrong side is 40; of 256 pixels none overlaps, smoothed by 1.
    assert mask_loss(-logits, target).item() == pytest.approx(40 + 1 - 1 / 257, abs=1e-4)


def test_edge_loss_is_the_mean_bce_of_each_clips_band(rng: np.random.Generator) -> None:
    logits = rng.normal(0, 2, (2, 1, 20, 24))
    target = np.zeros((2, 1, 20, 24))
    target[0, 0, 6:16, 5:20] = 1
    target[1, 0, 9, 12] = 0.75  # one pixel: a band of a window around it
    reach, expected = EDGE_WINDOW // 2, []
    for clip in range(2):
        errors = []
        for y in range(20):
            for x in range(24):
                seen = target[clip, 0, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
                if seen.max() > 0.5 >= seen.min():
                    errors.append(bce(logits[clip, 0, y : y + 1, x : x + 1], target[clip, 0, y : y + 1, x : x + 1]))
        expected.append(np.mean(errors))
    assert len(errors) == EDGE_WINDOW**2
    loss = edge_loss(torch.from_numpy(logits), torch.from_numpy(target))
    assert loss.item() == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_mask_without_boundary_has_no_edge_loss(value: float) -> None:
    assert edge_loss(torch.randn(1, 1, 16, 16), torch.full((1, 1, 16, 16), value)).item() == 0


def test_hard_iou_thresholds_logits_above_0_and_targets_above_half() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0], [-1.0, -1.0, -1.0, -1.0], [-1.0, 1.0, -1.0, -1.0]])
    target = torch.tensor([[1.0, 0.75, 0.5, 0.0], [0.0, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    ious = hard_iou(logits.view(3, 1, 2, 2), target.view(3, 1, 2, 2))
    # mask {1, 2} against {0, 1}; both empty; nothing in common
    assert ious.tolist() == pytest.approx([1 / 3, 1.0, 0.0])


def test_quality_loss_is_the_squared_error_of_the_iou_and_leaves_the_mask_alone() -> None:
    logits = torch.tensor([1.0, 1.0, -1.0, -1.0]).view(1, 1, 2, 2).requires_grad_()
    target = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    quality = torch.tensor([[0.8]], requires_grad=True)
    loss = quality_loss(quality, logits, target)
    loss.backward()
    assert loss.item() == pytest.approx((0.8 - 0.5) ** 2)
    assert quality.grad is not None
    assert quality.grad.item() == pytest.approx(0.6)
    assert logits.grad is None


def test_visibility_loss_is_the_bce_of_its_logit(rng: np.random.Generator) -> None:
    logits, visible = rng.normal(0, 2, (5, 1)), np.array([1.0, 0, 1, 1, 0])
    loss = visibility_loss(torch.from_numpy(logits), torch.from_numpy(visible))
    assert loss.item() == pytest.approx(bce(logits[:, 0], visible), abs=1e-12)
