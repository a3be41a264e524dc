"""Other ways than the learned gate to score memory tokens, for the ablation of the methodology: same bank, same rules.

The bank's order (anchors, recent frames, the rest, redundant tokens last) holds for all of them; only the scores that
decide inside a group differ. So a full bank of the shipped student differs by which cells of the newest frame it keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import AGE_FRAMES, MEMORY_GRID
from sam2lite_mobile.engines.wrapper import EngineWrapper
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.student.constants import POSITION_CHANNELS, gaussian_code
from sam2lite_mobile.student.token_gate import OBJECT_SCORE, OBJECT_SHARE, UNCERTAIN_SCORE

HASH_SEED = 0x9E3779B9
"""What the random selection's draws start from, times seed + 1: odd, so that 2^32 seeds have different starts."""


class Selection(StrEnum):
    """What scores memory tokens.

    gate: the student's token gate. fifo: the newer token; within a frame, by the bank's last tie rule, the lower cell.
    uniform: cells spread evenly over the grid, the same in every frame, so that frames keep equal numbers.
    random: a hash of frame, cell and seed. simple: uncertain cells and cells of the object, which the gate starts as.
    """

    GATE = "gate"
    FIFO = "fifo"
    UNIFORM = "uniform"
    RANDOM = "random"
    SIMPLE = "simple"


def rule_scores(
    selection: Selection,
    *,
    frame: NDArray[np.int64],
    cell: NDArray[np.int64],
    age: NDArray[np.int64],
    mask_mean: NDArray[np.float32],
    uncertainty: NDArray[np.float32],
    seed: int = 0,
) -> NDArray[np.float32]:
    """Scores of tokens without a network: float32 of the arguments' common shape, finite; higher is kept first.

    frame: any count that is the same for all tokens of a frame and for no other's. cell: 0..255. age: frames since
    written. mask_mean: the first channel of the token's value. uncertainty: as the contract has it. seed: 0 to
    2^32 - 1, of the random selection alone.
    Raises ValueError for `Selection.GATE`, whose scores a student computes.
    """
    if selection is Selection.FIFO:
        return -np.minimum(age, AGE_FRAMES).astype(np.float32)
    if selection is Selection.UNIFORM:
        return -_spread_order()[cell].astype(np.float32)
    if selection is Selection.RANDOM:
        return _hashed(frame, cell, seed)
    if selection is Selection.SIMPLE:
        on_object = (mask_mean > np.float32(OBJECT_SHARE)).astype(np.float32)
        return np.float32(UNCERTAIN_SCORE) * uncertainty + np.float32(OBJECT_SCORE) * on_object
    raise ValueError("the gate's scores come from a student")


class SelectionEngine(EngineWrapper):
    """An engine whose token gate is replaced by a rule; every other graph is the inner engine's.

    seed: of the random selection. For one video: it counts image encodings to tell frames apart. Construct another
    for the next.
    """

    def __init__(self, engine: Engine, selection: Selection, *, seed: int = 0) -> None:
        super().__init__(engine)
        self._selection = selection
        self._seed = seed
        self._frame = -1

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Outputs of one graph by name: the rule's scores for `token_gate`, which the inner engine does not run."""
        if graph_id == "token_gate":
            age = np.rint(tensors["age"] * AGE_FRAMES).astype(np.int64)
            scores = rule_scores(
                self._selection,
                frame=self._frame - age,
                cell=cells_of(tensors["keys"]),
                age=age,
                mask_mean=tensors["values"][..., 0],
                uncertainty=tensors["uncertainty"],
                seed=self._seed,
            )
            return {"scores": scores}
        if graph_id.startswith("image_encoder"):
            self._frame += 1
        return super().run(graph_id, tensors)


def cells_of(keys: NDArray[np.float32]) -> NDArray[np.int64]:
    """The cell, 0..255, that each key was written for: int64 (...,). keys: (..., 256) of the memory encoder.

    The last channels of a key are the code of its place, so the nearest of the 256 codes tells it, at any precision.
    """
    code = _place_code()
    nearness = keys[..., -POSITION_CHANNELS:] @ code.T - np.float32(0.5) * (code * code).sum(-1)
    return np.asarray(np.argmax(nearness, axis=-1), np.int64)


@lru_cache(maxsize=1)
def _place_code() -> NDArray[np.float32]:
    return np.asarray(gaussian_code(MEMORY_GRID), np.float32)


@lru_cache(maxsize=1)
def _spread_order() -> NDArray[np.int64]:
    """Place of each cell in an order whose every beginning is spread evenly: the first 128 are a chequerboard's."""
    row, column = np.divmod(np.arange(MEMORY_GRID * MEMORY_GRID), MEMORY_GRID)
    bits = MEMORY_GRID.bit_length() - 1
    order = np.zeros_like(row)
    for bit in range(bits):  # the lowest bits of row and column decide first
        r, c = (row >> bit) & 1, (column >> bit) & 1
        order |= ((r ^ c) << 1 | c) << (2 * (bits - 1 - bit))
    return order


def _hashed(frame: NDArray[np.int64], cell: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """A number in 0..1 for each frame and cell: the finalizer of MurmurHash3 (Appleby, public domain), top 24 bits."""
    cells = MEMORY_GRID * MEMORY_GRID
    start = np.uint32(HASH_SEED * (seed + 1) & 0xFFFFFFFF)
    x = (frame * cells + cell).astype(np.uint32) ^ start  # modulo 2^32, also for negative frames
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
