"""Losses of what is annotated: mask, edge, predicted quality, visibility; and of the bank's budget."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IOU_SMOOTHING = 1.0
"""Pixels added to intersection and union: an empty prediction of an empty mask has IoU 1."""
EDGE_WINDOW = 7
"""Side of the window that finds boundaries, in pixels of the loss (R/2): a band of three pixels on either side."""
SPARSE_WEIGHT = 1.0
SPARSITY_WEIGHT = 0.01
"""Lambda_sparse and lambda_sparsity of the methodology's section 2.4."""


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the batch of BCE + (1 - soft IoU), methodology section 1.3's L_mask.

    logits, target: (batch, 1, n, n), target in 0..1 (area averages of a binary mask).
    """
    bce = F.binary_cross_entropy_with_logits(logits, target)
    probability = torch.sigmoid(logits)
    intersection = (probability * target).sum((1, 2, 3))
    union = (probability + target - probability * target).sum((1, 2, 3))
    return bce + (1 - (intersection + IOU_SMOOTHING) / (union + IOU_SMOOTHING)).mean()


def edge_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean BCE over the band along the target's boundary, methodology section 1.3's L_edge.

    logits, target as in `mask_loss`. The band is where a window of EDGE_WINDOW pixels sees both object and background:
    a thin structure is all band, a large object only its rim, so each counts by the length of its outline. 0 where a
    target has no boundary.
    """
    reach = EDGE_WINDOW // 2
    most = F.max_pool2d(target, EDGE_WINDOW, 1, reach)
    least = -F.max_pool2d(-target, EDGE_WINDOW, 1, reach)
    band = ((most > 0.5) & (least <= 0.5)).to(logits.dtype)
    errors = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * band
    return (errors.sum((1, 2, 3)) / band.sum((1, 2, 3)).clamp(min=1)).mean()


def hard_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU (batch,) of the mask (logits > 0) with the target (> 0.5); 1 where both are empty."""
    mask, truth = logits > 0, target > 0.5
    intersection = (mask & truth).sum((1, 2, 3)).float()
    union = (mask | truth).sum((1, 2, 3)).float()
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.ones_like(union))


def quality_loss(quality: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Squared error of the predicted IoU (batch, 1) against the measured one."""
    return F.mse_loss(quality[:, 0], hard_iou(logits.detach(), target))


def visibility_loss(visibility: Tensor, visible: Tensor) -> Tensor:
    """BCE of the visibility logit (batch, 1) against whether the object is in view (batch,) 0 or 1."""
    return F.binary_cross_entropy_with_logits(visibility[:, 0], visible)


def budget_loss(soft: Tensor, held: Tensor, *, budget: int) -> Tensor:
    """Mean over the batch of the methodology's L_budget (section 2.4), as shares so that N and B set no scale.

    soft: (batch, n) relaxed choice, 0..1. held: bool (batch, n), slots with a token; where there are fewer than
    `budget`, their number is the budget. lambda_sparse * (sum soft / B - 1)^2 + lambda_sparsity * mean soft.
    The soft choice is counted: a hard top-B always meets its budget and would give 0 and no gradient. It also stands
    for s_j in the second part: raw scores have no lower bound, and the choice is the same when all of them sink.
    """
    count = held.sum(1).clamp(min=1)
    kept = (soft * held).sum(1)
    excess = kept / count.clamp(max=budget) - 1
    return (SPARSE_WEIGHT * excess**2 + SPARSITY_WEIGHT * kept / count).mean()
