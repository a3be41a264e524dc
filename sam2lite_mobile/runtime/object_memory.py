"""What the tracker asks of the memory of one object. `MemoryBank` is the one that ships."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.runtime.memory_bank import FrameTokens


class ObjectMemory(Protocol):
    """Tokens of the frames that an object was seen on. Shapes and errors as `MemoryBank` has them."""

    def gate_inputs(self, tokens: FrameTokens) -> dict[str, NDArray[np.float32]]:
        """The token gate's inputs for what is held, followed by a new frame."""
        ...

    def replace_frame(self, tokens: FrameTokens, scores: NDArray[np.float32]) -> None:
        """Drop what this frame has written, then add these tokens. scores: the gate's, for `gate_inputs(tokens)`."""
        ...

    def view(self, frame: int, window: int) -> dict[str, NDArray[np.float32]]:
        """The mask decoder's inputs from memory at `frame`."""
        ...

    def tokens_by_age(self, frame: int) -> dict[int, int]:
        """Number of tokens by age in frames, youngest first, as seen from `frame`."""
        ...

    def cells_by_frame(self) -> dict[int, NDArray[np.int64]]:
        """Which cells of the grid are held of which frame, oldest frame first: int64, ascending."""
        ...
