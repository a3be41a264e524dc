"""Graph `token_gate`: how much a memory token is worth keeping (methodology section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sam2lite_mobile import contract
from sam2lite_mobile.student.constants import POSITION_CHANNELS, gaussian_code

UNCERTAIN_SCORE, OBJECT_SCORE = 2.0, 1.5
"""Weights of the simple rule, of the prototype that the bank's order was chosen with: an uncertain cell, the object."""
OBJECT_SHARE = 0.02
"""A cell shows the object where its mask mean is above this."""
OBJECT_SLOPE = 100.0
"""The gate's start rises from no object to object over 1 / OBJECT_SLOPE of mask mean."""
SPREAD = 0.3
"""Standard deviation of the start over places: enough to scatter what is otherwise equal, as background is."""
SPREAD_SLOPE = 30.0
SPREAD_UNITS = (48, 30)
"""Units of both hidden layers that make the spread."""
SPREAD_SEED = 0
INPUTS = 2 * contract.CHANNELS + 3
MASK_MEAN, UNCERTAINTY = contract.CHANNELS, INPUTS - 1
"""Inputs: the first channel of the value, and the last scalar."""
PLACE = slice(contract.CHANNELS - POSITION_CHANNELS, contract.CHANNELS)
"""Inputs: the key's code of its place."""


class TokenGate(nn.Module):
    """MLP 515-128-64-1 with ReLU, 74,369 parameters, over key, value, age, motion and uncertainty of each token.

    keys, values (batch, n, 256); age, motion, uncertainty (batch, n) -> scores (batch, n), higher is kept first.
    It starts as the simple rule, which training has to beat (`start_as_rule`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.hidden_1 = nn.Linear(INPUTS, 128)
        self.hidden_2 = nn.Linear(128, 64)
        self.score = nn.Linear(64, 1)
        start_as_rule(self)

    def forward(self, keys: Tensor, values: Tensor, age: Tensor, motion: Tensor, uncertainty: Tensor) -> Tensor:
        scalars = [x[:, :, None] for x in (age, motion, uncertainty)]
        x = torch.cat([keys, values, *scalars], -1)
        x = torch.relu(self.hidden_2(torch.relu(self.hidden_1(x))))
        return self.score(x)[:, :, 0]  # type: ignore[no-any-return]


@torch.no_grad()
def start_as_rule(gate: TokenGate) -> None:
    """Weights with which the gate scores 2 uncertainty + 1.5 [the cell shows the object] + a spread over places.

    Two units a layer carry the rule: 1 - relu(1 - slope (mean - share)), cut at 0, is 0 without object, 1 with it, and
    stays in a range that fp16 holds. The spread is a fixed random function of the place's code with mean 0: a rule
    alone calls all background equal, and a bank then keeps the corner of the frame that its tie rule comes to first.
    The other units keep their random start, unread until training gives them a weight.
    """
    first, second, score = gate.hidden_1, gate.hidden_2, gate.score
    score.weight.zero_()
    score.bias.zero_()
    second.weight[:, :2] = 0
    _set(first, 0, {MASK_MEAN: -OBJECT_SLOPE}, bias=1 + OBJECT_SLOPE * OBJECT_SHARE)
    _set(first, 1, {UNCERTAINTY: 1.0}, bias=0.0)
    _set(second, 0, {0: -1.0}, bias=1.0)
    _set(second, 1, {1: 1.0}, bias=0.0)
    score.weight[0, :2] = torch.tensor([OBJECT_SCORE, UNCERTAIN_SCORE])

    generator = torch.Generator().manual_seed(SPREAD_SEED)
    wide, narrow = (slice(2, 2 + units) for units in SPREAD_UNITS)
    place = torch.from_numpy(gaussian_code(contract.MEMORY_GRID))  # (256, 32)
    weights = torch.randn(SPREAD_UNITS[0], POSITION_CHANNELS, generator=generator) * SPREAD_SLOPE
    first.weight[wide] = 0
    first.weight[wide, PLACE] = weights
    first.bias[wide] = -(place @ weights.T).mean(0)
    hidden = torch.relu(place @ weights.T + first.bias[wide])
    weights = torch.randn(*SPREAD_UNITS[::-1], generator=generator) / SPREAD_UNITS[0] ** 0.5
    second.weight[narrow] = 0
    second.weight[narrow, wide] = weights
    second.bias[narrow] = -(hidden @ weights.T).mean(0)
    hidden = torch.relu(hidden @ weights.T + second.bias[narrow])
    weights = torch.randn(SPREAD_UNITS[1], generator=generator)
    weights = weights * (SPREAD / (hidden @ weights).std())
    score.weight[0, narrow] = weights
    score.bias.sub_((hidden @ weights).mean())


def _set(layer: nn.Linear, unit: int, weights: dict[int, float], *, bias: float) -> None:
    layer.weight[unit] = 0
    for index, value in weights.items():
        layer.weight[unit, index] = value
    layer.bias[unit] = bias
