"""Memory without a budget: every token of every frame that was written. A bank is compared with it.

It costs more with every frame, so it is for measurements alone, and for engines that take any number of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import AGE_FRAMES, CHANNELS, MASKED, TOKENS_PER_FRAME
from sam2lite_mobile.engines.wrapper import EngineWrapper
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.memory_bank import FrameTokens


@runtime_checkable
class AnyMemoryEngine(Engine, Protocol):
    """An engine that also runs the mask decoder with a memory of any size."""

    def run_any_memory(
        self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name, where memory may hold any number of tokens."""
        ...


class UnboundedMemory:
    """The memory of one object that drops nothing and has no window. Slots are in the order of writing.

    Used through the tracker's `new_memory` with an `UnboundedEngine`; frames are checked by the tracker.
    """

    def __init__(self) -> None:
        self._frames: list[FrameTokens] = []

    def gate_inputs(self, tokens: FrameTokens) -> dict[str, NDArray[np.float32]]:
        """None: there is nothing to choose."""
        return {}

    def replace_frame(self, tokens: FrameTokens, scores: NDArray[np.float32]) -> None:
        """Drop the tokens of this frame, then add these. scores: ignored."""
        self._frames = [held for held in self._frames if held.frame != tokens.frame] + [tokens]

    def view(self, frame: int, window: int) -> dict[str, NDArray[np.float32]]:
        """What the mask decoder reads at `frame`: as `MemoryBank.view`, with 256 x written frames in place of B.

        window: ignored. Ordinary tokens of `frame` itself are masked, as in the bank.
        """
        frames = np.repeat([held.frame for held in self._frames], TOKENS_PER_FRAME).astype(np.int64)
        anchor = np.repeat([held.anchor for held in self._frames], TOKENS_PER_FRAME).astype(np.bool_)
        age = np.minimum(frame - frames, AGE_FRAMES).astype(np.float32) / np.float32(AGE_FRAMES)
        none = np.zeros((0, CHANNELS), np.float32)
        return {
            "memory_keys": np.concatenate([none, *(held.keys for held in self._frames)])[np.newaxis],
            "memory_values": np.concatenate([none, *(held.values for held in self._frames)])[np.newaxis],
            "memory_age": age[np.newaxis],
            "memory_mask": np.where(anchor | (frames < frame), np.float32(0), np.float32(MASKED))[np.newaxis],
            "memory_anchor": anchor.astype(np.float32)[np.newaxis],
        }

    def tokens_by_age(self, frame: int) -> dict[int, int]:
        """Number of tokens by age in frames, youngest first, as seen from `frame`."""
        return {frame - held.frame: TOKENS_PER_FRAME for held in reversed(self._frames)}

    def cells_by_frame(self) -> dict[int, NDArray[np.int64]]:
        """All cells of every frame, oldest frame first."""
        return {held.frame: np.arange(TOKENS_PER_FRAME, dtype=np.int64) for held in self._frames}


class UnboundedEngine(EngineWrapper):
    """An engine for `UnboundedMemory`: the mask decoder takes any number of tokens, and the token gate does not run.

    Raises ContractError for an engine whose graphs have a fixed number of tokens.
    """

    def __init__(self, engine: Engine) -> None:
        if not isinstance(engine, AnyMemoryEngine):
            raise ContractError(
                explain(
                    "unbounded memory",
                    expected="the engine torch",
                    got=engine.describe().name,
                    do="use --engine torch, or a budget",
                )
            )
        super().__init__(engine)
        self._any_memory = engine

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name; scores of 0 for `token_gate`."""
        if graph_id == "token_gate":
            return {"scores": np.zeros((1, self.bank_tokens + TOKENS_PER_FRAME), np.float32)}
        return self._any_memory.run_any_memory(graph_id, tensors)
