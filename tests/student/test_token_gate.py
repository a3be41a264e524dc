"""What the token gate scores before training: the simple rule, spread over the frame."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sam2lite_mobile.student.constants import POSITION_CHANNELS, gaussian_code
from sam2lite_mobile.student.token_gate import SPREAD, TokenGate

CELLS = 256


def scores(gate: TokenGate, *, mask_mean: float, uncertainty: float, seed: int = 0) -> Tensor:
    """Scores (256,) of a frame's tokens that are alike but for their place and random content."""
    generator = torch.Generator().manual_seed(seed)
    keys, values = (torch.randn(1, CELLS, 256, generator=generator) for _ in range(2))
    keys[..., -POSITION_CHANNELS:] = torch.from_numpy(gaussian_code(16))
    values[..., 0] = mask_mean
    age, motion = (torch.rand(1, CELLS, generator=generator) for _ in range(2))
    with torch.no_grad():
        result: Tensor = gate(keys, values, age, motion, torch.full((1, CELLS), uncertainty))
    return result[0]


@pytest.mark.parametrize(
    ("mask_mean", "uncertainty", "rule"),
    [(0.0, 0.0, 0.0), (0.02, 0.0, 0.0), (0.03, 0.0, 1.5), (1.0, 0.0, 1.5), (0.0, 0.25, 0.5), (0.5, 1.0, 3.5)],
)
def test_untrained_gate_scores_2_for_uncertainty_and_1_5_for_the_object(
    mask_mean: float, uncertainty: float, rule: float
) -> None:
    gate = TokenGate()
    found = scores(gate, mask_mean=mask_mean, uncertainty=uncertainty)
    assert found.mean().item() == pytest.approx(rule, abs=1e-4)
    assert found.std().item() == pytest.approx(SPREAD, rel=1e-3)


def test_spread_belongs_to_the_place_alone_and_is_the_same_in_every_gate() -> None:
    first = scores(TokenGate(), mask_mean=0.0, uncertainty=0.0, seed=1)
    second = scores(TokenGate(), mask_mean=0.0, uncertainty=0.0, seed=2)
    torch.testing.assert_close(first, second)
    # The best quarter of equal cells lies in all four quarters of the frame.
    best = torch.zeros(CELLS)
    best[first.argsort(descending=True)[:64]] = 1
    quarters = best.view(2, 8, 2, 8).sum((1, 3))
    assert quarters.min() >= 4


def test_every_weight_can_be_trained() -> None:
    gate = TokenGate()
    optimizer = torch.optim.SGD(gate.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 64, 256, generator=generator) for _ in range(2)]
    inputs += [torch.rand(2, 64, generator=generator) for _ in range(3)]
    for _ in range(2):  # units that nothing reads get a weight first, and are trained from then on
        optimizer.zero_grad()
        gate(*inputs).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in gate.parameters())
    assert gate.hidden_2.weight.grad is not None
    assert gate.hidden_2.weight.grad[40].any()  # one of the units that start unread


def test_unread_units_keep_the_random_start_of_their_seed() -> None:
    gates = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        gates.append(TokenGate())
    assert torch.equal(gates[0].hidden_1.weight, gates[1].hidden_1.weight)
    assert not torch.equal(gates[0].hidden_1.weight[60:], gates[2].hidden_1.weight[60:])
