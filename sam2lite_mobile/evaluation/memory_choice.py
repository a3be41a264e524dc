"""What a tracker remembers in a measurement: tokens chosen by the gate, by a rule instead of it, or all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sam2lite_mobile.evaluation.selection import Selection, SelectionEngine
from sam2lite_mobile.evaluation.unbounded import UnboundedEngine, UnboundedMemory
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.tracker import Tracker


@dataclass(frozen=True)
class MemoryChoice:
    """selection: what scores the tokens of a bank of the engine's budget; None keeps every token of every frame.

    seed: of the random selection, 0 to 2^32 - 1; the others do not look at it.
    """

    selection: Selection | None = Selection.GATE
    seed: int = 0


def choosing_tracker(
    engine: Engine,
    choice: MemoryChoice,
    *,
    size: int,
    window: int,
    timer: Callable[[], float] | None = None,
    min_quality: float = 0.0,
) -> Tracker:
    """A tracker for one video that remembers by this choice. The other arguments and the errors are `Tracker`'s.

    With `selection` None the memory window has no effect, and engines whose graphs have a fixed number of tokens are
    refused with a ContractError.
    """
    if choice.selection is None:
        return Tracker(
            UnboundedEngine(engine),
            size=size,
            window=window,
            timer=timer,
            new_memory=UnboundedMemory,
            min_quality=min_quality,
        )
    if choice.selection is not Selection.GATE:
        engine = SelectionEngine(engine, choice.selection, seed=choice.seed)
    return Tracker(engine, size=size, window=window, timer=timer, min_quality=min_quality)
