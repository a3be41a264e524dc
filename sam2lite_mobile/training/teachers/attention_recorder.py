"""What the memory attention of a SAM 2 video model attends to and reads, caught while the model runs."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sam2lite_mobile.errors import ContractError, explain


class AttentionRecorder:
    """Watches the cross-attentions of some layers while it is entered; `take` gives what the last frame did.

    attentions: the modules, in the order in which they run. Each returns its output (1, 1, queries, channels) and its
    weights (1, heads, queries, tokens), which it has with `attn_implementation="eager"` only
    (`eager_attention_forward` of transformers 5.23.0, models/sam2_video/modeling_sam2_video.py).
    """

    def __init__(self, attentions: Iterable[nn.Module]) -> None:
        self._attentions = list(attentions)
        self._handles: list[RemovableHandle] = []
        self._calls = 0
        self._total: Tensor | None = None
        self._readout: Tensor | None = None

    def __enter__(self) -> Self:
        self._handles = [module.register_forward_hook(self._note) for module in self._attentions]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def take(self) -> tuple[Tensor, Tensor]:
        """Attention (queries, tokens), the mean over heads and layers, and the last layer's output (queries, channels).

        float32. Raises ContractError unless every layer ran once since the last call.
        """
        calls, total, readout = self._calls, self._total, self._readout
        self._calls, self._total, self._readout = 0, None, None
        if calls != len(self._attentions) or total is None or readout is None:
            raise _unknown_model(f"{len(self._attentions)} layers of memory attention a frame", f"{calls} calls")
        # The models run in inference mode; what is computed here, outside of it, can be saved for a backward pass.
        return total.float() / calls, readout.float().clone()

    def _note(self, module: nn.Module, inputs: object, output: tuple[Tensor, Tensor | None]) -> None:
        readout, weights = output
        if weights is None:
            raise _unknown_model("attention weights", "none")
        mean = weights[0].mean(0)
        self._total = mean if self._total is None else self._total + mean
        self._readout = readout[0, 0]
        self._calls += 1


def _unknown_model(expected: str, got: str) -> ContractError:
    do = 'use transformers==5.23.0 with attn_implementation="eager"'
    return ContractError(explain("teacher's memory attention", expected=expected, got=got, do=do))
