"""The memory of a clip: which tokens lie where, and what is hidden."""

from __future__ import annotations

import torch

from sam2lite_mobile import contract
from sam2lite_mobile.training.clip_memory import Bank, Tokens, replace_tokens

T, D = contract.TOKENS_PER_FRAME, contract.CHANNELS


def tokens(value: float, *, clips: int = 2) -> Tokens:
    return torch.full((clips, T, D), value), torch.full((clips, T, D), value + 0.25), torch.full((clips, T), value / 8)


def test_bank_holds_the_anchors_then_the_recent_tokens_with_the_age_of_their_frame() -> None:
    hidden = torch.zeros(2, T)
    hidden[1, 3] = contract.MASKED
    ages, recent_frame = torch.tensor([[0.5, 0.25], [0.75, 0.125]]), torch.tensor([4, 5])
    bank = Bank.of(tokens(1), tokens(2), ages=ages, recent_frame=recent_frame, hidden=hidden)
    assert bank.keys.shape == bank.values.shape == (2, 2 * T, D)
    assert bank.keys[:, T - 1].unique().tolist() == [1]
    assert bank.keys[:, T].unique().tolist() == [2]
    assert bank.values[:, T].unique().tolist() == [2.25]
    assert bank.age[:, [0, T - 1, T, 2 * T - 1]].tolist() == [[0.5, 0.5, 0.25, 0.25], [0.75, 0.75, 0.125, 0.125]]
    assert bank.anchor[0].tolist() == [1] * T + [0] * T
    assert bank.mask.nonzero().tolist() == [[1, T + 3]]
    names = ("keys", "values", "age", "mask", "anchor")
    assert all(given is getattr(bank, name) for given, name in zip(bank.decoder_inputs(), names, strict=True))


def test_empty_bank_is_masked_throughout() -> None:
    bank = Bank.empty(3)
    assert bank.keys.shape == (3, T, D)
    assert bank.mask.unique().tolist() == [contract.MASKED]
    assert bank.anchor.sum() == 0


def test_tokens_are_replaced_clip_by_clip() -> None:
    mixed = replace_tokens(tokens(1), tokens(2), where=torch.tensor([False, True]))
    for got, old, new in zip(mixed, tokens(1), tokens(2), strict=True):
        assert torch.equal(got[0], old[0])
        assert torch.equal(got[1], new[1])
