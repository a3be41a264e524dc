"""Reading a bank whose choice of tokens is being learned: the kept tokens forward, every token's part in it backward.

A masked token has no attention, so an additive mask tells the gate nothing about what it dropped. Here the gradient of
a token's keep mask is the change of the readout were the token switched: a_j (v_j - readout), with a_j the attention
that it has, or, if it was dropped, would have beside the kept ones. For a kept token that is the exact derivative of
m_j exp(l_j) / sum_k m_k exp(l_k); for a dropped one, the whole step from 0 to 1, where the derivative at 0 would be
exp(l_j) / sum_k m_k exp(l_k), without bound for a good match.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from sam2lite_mobile import contract
from sam2lite_mobile.quantization.replaced_forward import replaced_forward
from sam2lite_mobile.student.memory_attention import MemoryAttention, MemoryRead

SMALLEST_SUM = 1e-30
"""Keeps 0 / 0 of attention that underflowed at 0."""

Read = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], MemoryRead]
"""`MemoryAttention.forward`."""


def reads_of_kept(*reads: MemoryAttention, keep: Tensor) -> AbstractContextManager[None]:
    """Within the block, these reads see the tokens of `keep` (batch, B), 0 or 1, only, and give it gradients."""
    return replaced_forward({read: functools.partial(read_kept, read.forward, keep) for read in reads})


def read_kept(
    read: Read, keep: Tensor, tokens: Tensor, keys: Tensor, values: Tensor, age: Tensor, mask: Tensor
) -> MemoryRead:
    """One read of the kept tokens, with gradients for `keep` (batch, B). mask: additive, of the tokens in view at all.

    Attention and readout are exactly those of `read` with the dropped tokens masked.
    """
    dropped = keep.detach() == 0
    given = read(tokens, keys, values, age, torch.where(dropped, contract.MASKED, mask))
    if not keep.requires_grad:
        return given
    with torch.autocast(tokens.device.type, enabled=False):
        attention = would_be_attention(given.attention, read, dropped, (tokens, keys, values, age, mask))
        readout = SwitchedReadout.apply(given.readout, keep, attention, values.detach())  # type: ignore[no-untyped-call]
    return MemoryRead(given.attention, readout)


@torch.no_grad()
def would_be_attention(
    attention: Tensor, read: Read, dropped: Tensor, inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
) -> Tensor:
    """Attention (batch, n, B) of each token beside the kept ones and the null token: for kept ones, what it is."""
    everything = read(*inputs).attention
    single = everything[:, :, :-1]
    absent = dropped[:, None, :]
    beside = everything[:, :, -1:] + single.masked_fill(absent, 0).sum(-1, keepdim=True)
    alone = single / (single + beside).clamp(min=SMALLEST_SUM)
    return torch.where(absent, alone, attention[:, :, :-1])


class SwitchedReadout(torch.autograd.Function):
    """The readout as it is; backward, also the sum over image tokens of a_j <gradient, v_j - readout> for token j."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, readout: Tensor, keep: Tensor, attention: Tensor, values: Tensor
    ) -> Tensor:
        """readout (batch, n, 256) and, for the way back, keep (batch, B), attention (batch, n, B), values."""
        ctx.save_for_backward(readout, attention, values)
        return readout.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of readout and keep."""
        readout, attention, values = ctx.saved_tensors  # type: ignore[attr-defined]
        along = torch.bmm(gradient, values.transpose(1, 2)) - (gradient * readout).sum(-1, keepdim=True)
        return gradient, (attention * along).sum(1), None, None
