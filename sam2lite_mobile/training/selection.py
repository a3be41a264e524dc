"""Differentiable selection: the best B of N tokens forward, a relaxed choice backward (methodology section 2.3).

Forward, the scores (with Gumbel noise in training) are ranked and the first B are 1, the others 0. Backward, the mask
stands for sigmoid((g - threshold) / temperature), the threshold half way between the last score that is kept and the
first that is not: tokens near the cut get gradients, those far from it none, the more so the lower the temperature.

The methodology divides g by the sum of all g before ranking. That is not used: g may be negative, so the sum may be
zero (not defined) or negative (the order turns round); where it is positive it changes no rank. Nor is a softmax,
which would leave each of N tokens about 1 / N of the gradient and rank nothing differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sam2lite_mobile.training.draws import Draws


@dataclass(frozen=True)
class Kept:
    """A choice of tokens, all (batch, n).

    hard: bool, the choice. soft: in 0..1, its relaxation, with gradients. mask: 0 or 1, exactly `hard` in value and
    `soft` in gradient (straight-through).
    """

    hard: Tensor
    soft: Tensor
    mask: Tensor


def temperature_at(progress: float, *, start: float = 1.0, end: float = 0.1) -> float:
    """Temperature after a share of all steps, 0..1: geometric from start to end, so that each step sharpens alike."""
    return float(start * (end / start) ** min(max(progress, 0.0), 1.0))


def gumbel_noise(count: int, draws: Draws) -> Tensor:
    """Gumbel(0, 1) for `count` tokens of each clip: -log(-log u), u uniform and kept off 0 and 1, so always finite."""
    uniform = draws.uniform(count).clamp(1e-6, 1 - 1e-6)
    return -torch.log(-torch.log(uniform))


def gumbel_top_b(
    scores: Tensor,
    budget: int,
    temperature: float,
    draws: Draws | None,
    allowed: Tensor | None = None,
) -> Kept:
    """The B highest of scores + Gumbel(0, 1), per row; equal ones by lower index. Without draws, no noise.

    scores: (batch, n). allowed: bool (batch, n), tokens that may be chosen; all of them are where there are at most B.
    """
    noisy = scores if draws is None else scores + gumbel_noise(scores.shape[1], draws)
    everything = torch.ones_like(scores, dtype=torch.bool) if allowed is None else allowed
    level = torch.zeros_like(scores, dtype=torch.int64)
    tie = torch.arange(scores.shape[1], device=scores.device).expand_as(level)
    budgets = torch.full((scores.shape[0],), budget, device=scores.device)
    return top_b(noisy, budgets, temperature, allowed=everything, level=level, tie=tie)


def top_b(scores: Tensor, budgets: Tensor, temperature: float, *, allowed: Tensor, level: Tensor, tie: Tensor) -> Kept:
    """The first `budgets` (batch,) of each row by lower level, then higher score, then lower tie.

    Only the level in which the cut falls is relaxed: above it all tokens are kept and below it none, whatever their
    scores, so no gradient is true there. level, tie: int64 (batch, n); allowed: bool (batch, n).
    """
    last = torch.iinfo(torch.int64).max
    level = torch.where(allowed, level, last)
    order = torch.argsort(tie, dim=1, stable=True)
    for key in (-scores.detach(), level):  # stable sorts: the last key decides first
        order = order.gather(1, torch.argsort(key.gather(1, order), dim=1, stable=True))
    place = torch.argsort(order, dim=1)  # the inverse permutation
    hard = (place < budgets[:, None]) & allowed
    soft = hard.to(scores.dtype)

    count = scores.shape[1]
    ends = torch.stack([budgets - 1, budgets], 1)  # places of the last token in and the first one out
    at_cut = order.gather(1, ends.clamp(0, count - 1))
    levels, edges = level.gather(1, at_cut), scores.detach().gather(1, at_cut)
    inside = (budgets > 0) & (budgets < count)
    cut = inside & (levels[:, 0] == levels[:, 1]) & (levels[:, 1] != last)  # else a whole level is kept or dropped
    relaxed = torch.sigmoid((scores - edges.mean(1, keepdim=True)) / temperature)
    soft = torch.where(cut[:, None] & (level == levels[:, :1]), relaxed, soft)
    return Kept(hard, soft, hard.to(soft.dtype) + (soft - soft.detach()))  # in this order exactly 0 or 1
