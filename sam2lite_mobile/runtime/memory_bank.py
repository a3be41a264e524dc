"""The memory bank of one object: at most B tokens, chosen by one total order, in constant memory and constant time.

A token is a key, a value, the frame and cell that it comes from, motion, uncertainty, score and an anchor flag.
Kept tokens stay in their slot; new ones go to the free slots. Scores come from the token gate, which an engine runs
between `gate_inputs` and `insert`; everything here is comparison and whole numbers, except ages (one division).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import (
    AGE_FRAMES,
    BANK_TOKENS_MAX,
    BANK_TOKENS_MIN,
    CHANNELS,
    MASKED,
    TOKENS_PER_FRAME,
    WINDOW_MAX,
    WINDOW_MIN,
)
from sam2lite_mobile.errors import ContractError, explain

RECENT_FRAMES = 4
"""Frames that count as recent: the one being written and the three before it, by frame index."""
REDUNDANT_MOTION = np.float32(0.1)
REDUNDANT_UNCERTAINTY = np.float32(0.1)
"""A token is redundant where motion and uncertainty are both below these (methodology section 2.5)."""
NO_FRAME = -1
"""Frame index of an empty slot."""


def anchor_quota(bank_tokens: int) -> int:
    """Most tokens that are kept for being anchors: two thirds of the bank, rounded down."""
    return 2 * bank_tokens // 3


@dataclass(frozen=True, eq=False)
class FrameTokens:
    """What one frame adds to the bank.

    frame: index of the frame, >= 0. keys, values: float32 (T, D), row by row over the 16 x 16 grid. motion,
    uncertainty: float32 (T,), 0..1. anchor: True if the user prompted or corrected the object on this frame.
    """

    frame: int
    keys: NDArray[np.float32]
    values: NDArray[np.float32]
    motion: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    anchor: bool


@dataclass(frozen=True, eq=False)
class BankContents:
    """A copy of every slot, for traces and inspection; empty slots have frame -1 and zeros.

    keys, values: float32 (B, D). frame, cell: int64 (B,). motion, uncertainty, score: float32 (B,). anchor: bool (B,).
    """

    keys: NDArray[np.float32]
    values: NDArray[np.float32]
    frame: NDArray[np.int64]
    cell: NDArray[np.int64]
    motion: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    score: NDArray[np.float32]
    anchor: NDArray[np.bool_]


def keep_order(
    frame: NDArray[np.int64],
    cell: NDArray[np.int64],
    *,
    motion: NDArray[np.float32],
    uncertainty: NDArray[np.float32],
    score: NDArray[np.float32],
    anchor: NDArray[np.bool_],
    newest: int,
    quota: int,
) -> NDArray[np.intp]:
    """Indices of n tokens from the first to be kept to the last; n <= 1024, no two with equal frame and cell.

    Three groups, one after the other:

    1. anchors, at most `quota` of them. Anchors beyond the quota compete as ordinary tokens in groups 2 and 3; they
       keep their flag, so they may count as anchors again at a later frame;
    2. tokens of the last four frames (frame > newest - 4), newest frame first;
    3. the rest.

    In every group redundant tokens come last (so in group 2 even after older frames), then the higher score is first,
    then the newer frame, then the lower cell; in group 2 the frame decides before the score. Which anchors are within
    the quota is decided by the order of group 1.
    """
    redundant = (motion < REDUNDANT_MOTION) & (uncertainty < REDUNDANT_UNCERTAINTY)
    by_merit = np.lexsort((cell, -frame, -score, redundant))  # the last key decides first
    merit = np.empty(by_merit.size, np.int64)  # place of each token in that order
    merit[by_merit] = np.arange(by_merit.size)
    group = np.where(frame > newest - RECENT_FRAMES, 1, 2)
    anchors = by_merit[anchor[by_merit]]
    group[anchors[:quota]] = 0
    frames_back = np.where(group == 1, newest - frame, 0)
    # One whole number a token: group, redundant, frames back (0..3), place (below 1024). All are different.
    rank = ((group * 2 + redundant) * RECENT_FRAMES + frames_back) * 1024 + merit
    return np.argsort(rank)


class MemoryBank:
    """The memory of one object. Slots 0 .. B - 1; the order of slots means nothing to the model but is deterministic:
    kept tokens stay where they are, and the new tokens that are kept fill the free slots, lowest cell to lowest slot.

    Every method checks its input before it changes anything: after a ContractError the bank is as it was.
    """

    def __init__(self, bank_tokens: int) -> None:
        if not BANK_TOKENS_MIN <= bank_tokens <= BANK_TOKENS_MAX:
            raise _error("bank tokens", f"{BANK_TOKENS_MIN} to {BANK_TOKENS_MAX}", bank_tokens, "change the budget")
        self._bank_tokens = bank_tokens
        # Rows B .. B + T - 1 are where a new frame waits for its scores, so that the gate reads one array, uncopied.
        rows = bank_tokens + TOKENS_PER_FRAME
        self._keys = np.zeros((rows, CHANNELS), np.float32)
        self._values = np.zeros((rows, CHANNELS), np.float32)
        self._frame = np.full(rows, NO_FRAME, np.int64)
        self._cell = np.zeros(rows, np.int64)
        self._cell[bank_tokens:] = np.arange(TOKENS_PER_FRAME)
        self._motion = np.zeros(rows, np.float32)
        self._uncertainty = np.zeros(rows, np.float32)
        self._score = np.zeros(rows, np.float32)
        self._anchor = np.zeros(rows, np.bool_)

    @property
    def bank_tokens(self) -> int:
        """B, the number of slots."""
        return self._bank_tokens

    @property
    def token_count(self) -> int:
        """Slots that hold a token."""
        return int(np.count_nonzero(self._frame[: self._bank_tokens] != NO_FRAME))

    @property
    def newest_frame(self) -> int:
        """Index of the newest frame that the bank holds, -1 if it is empty."""
        return int(self._frame[: self._bank_tokens].max())

    def gate_inputs(self, tokens: FrameTokens) -> dict[str, NDArray[np.float32]]:
        """The token gate's inputs for the bank followed by a new frame: keys, values [1, B + T, D] and age, motion,
        uncertainty [1, B + T], float32; empty slots are zero.

        Tokens of the same frame index, which `replace_frame` will drop, count as empty. The arrays are read-only
        views of the bank where nothing has to be blanked: valid until its next change.
        Raises ContractError for misshapen or non-finite tokens, or a frame older than the bank's newest.
        """
        self._check_tokens(tokens)
        new = slice(self._bank_tokens, None)
        self._keys[new], self._values[new] = tokens.keys, tokens.values
        self._motion[new], self._uncertainty[new] = tokens.motion, tokens.uncertainty
        age = self._ages(tokens.frame, self._frame)  # rows of the new frame have no frame yet: age 0
        fields = {
            "keys": self._keys,
            "values": self._values,
            "age": age,
            "motion": self._motion,
            "uncertainty": self._uncertainty,
        }
        replaced = np.flatnonzero(self._frame[: self._bank_tokens] == tokens.frame)
        if replaced.size:
            fields = {name: array.copy() for name, array in fields.items()}
            for array in fields.values():
                array[replaced] = 0
        return {name: _read_only(array) for name, array in fields.items()}

    def insert(self, tokens: FrameTokens, scores: NDArray[np.float32]) -> None:
        """Add a new frame's tokens and keep the first B of all by `keep_order`.

        scores: float32 (B + T,), the gate's scores for `gate_inputs(tokens)`; those of empty slots are ignored.
        Raises ContractError for misshapen or non-finite input, or a frame that is not newer than the bank's newest.
        """
        self._check_tokens(tokens)
        self._check_scores(scores)
        if tokens.frame == self.newest_frame:
            raise _error("frame", f"one after {self.newest_frame}", tokens.frame, "use replace_frame to correct it")
        self._write(tokens, scores)

    def replace_frame(self, tokens: FrameTokens, scores: NDArray[np.float32]) -> None:
        """Drop the tokens that the frame left, then add these: a correction. A frame that the bank does not hold is
        simply added. Tokens that the dropped ones had pushed out do not come back. Arguments and errors as for
        `insert`, but the frame may be the bank's newest.
        """
        self._check_tokens(tokens)
        self._check_scores(scores)
        self._free(np.flatnonzero(self._frame[: self._bank_tokens] == tokens.frame))
        self._write(tokens, scores)

    def view(self, frame: int, window: int) -> dict[str, NDArray[np.float32]]:
        """What the mask decoder reads at `frame`: memory_keys, memory_values [1, B, D] and memory_age, memory_mask,
        memory_anchor [1, B], float32.

        window: frames back that ordinary tokens are seen, 2..8. Anchors are seen at any age. Ordinary tokens of
        `frame` itself are not: when a frame is corrected, the rejected result must not vouch for itself, while what
        the user said on that frame (its anchors) stays in view. Tokens out of view are masked, not moved.
        The arrays are read-only; keys and values are views of the bank, valid until its next change.
        Raises ContractError for a window out of range, or a frame older than the bank's newest.
        """
        if not WINDOW_MIN <= window <= WINDOW_MAX:
            raise _error("memory window", f"{WINDOW_MIN} to {WINDOW_MAX} frames", window, "clip it to the range")
        self._check_frame(frame)
        frames, anchor = self._frame[: self._bank_tokens], self._anchor[: self._bank_tokens]
        in_window = (frames != NO_FRAME) & (frames < frame) & (frames >= frame - window)
        mask = np.where(anchor | in_window, np.float32(0), np.float32(MASKED))
        return {
            "memory_keys": _read_only(self._keys[: self._bank_tokens]),
            "memory_values": _read_only(self._values[: self._bank_tokens]),
            "memory_age": _read_only(self._ages(frame, frames)),
            "memory_mask": _read_only(mask),
            "memory_anchor": _read_only(anchor.astype(np.float32)),
        }

    def tokens_by_age(self, frame: int) -> dict[int, int]:
        """Number of tokens by age in frames (not capped), youngest first, as seen from `frame`."""
        held = self._frame[: self._bank_tokens]
        ages, counts = np.unique(frame - held[held != NO_FRAME], return_counts=True)
        return {int(age): int(count) for age, count in zip(ages, counts, strict=True)}

    def cells_by_frame(self) -> dict[int, NDArray[np.int64]]:
        """Which cells are held of which frame, oldest frame first: int64, ascending."""
        frames, cells = self._frame[: self._bank_tokens], self._cell[: self._bank_tokens]
        return {int(frame): np.sort(cells[frames == frame]) for frame in np.unique(frames[frames != NO_FRAME])}

    def contents(self) -> BankContents:
        """A copy of every slot."""
        bank = slice(0, self._bank_tokens)
        return BankContents(
            self._keys[bank].copy(),
            self._values[bank].copy(),
            self._frame[bank].copy(),
            self._cell[bank].copy(),
            self._motion[bank].copy(),
            self._uncertainty[bank].copy(),
            self._score[bank].copy(),
            self._anchor[bank].copy(),
        )

    def reset(self) -> None:
        """Empty every slot, as in a new bank."""
        self._free(np.arange(self._bank_tokens))

    def _write(self, tokens: FrameTokens, scores: NDArray[np.float32]) -> None:
        """Choose the tokens to keep, blank the slots of the others, fill free slots with the new ones."""
        budget, new = self._bank_tokens, slice(self._bank_tokens, None)
        self._frame[new], self._anchor[new] = tokens.frame, tokens.anchor
        self._motion[new], self._uncertainty[new] = tokens.motion, tokens.uncertainty
        candidates = np.flatnonzero(self._frame != NO_FRAME)
        self._score[candidates] = scores[candidates]
        order = keep_order(
            self._frame[candidates],
            self._cell[candidates],
            motion=self._motion[candidates],
            uncertainty=self._uncertainty[candidates],
            score=self._score[candidates],
            anchor=self._anchor[candidates],
            newest=tokens.frame,
            quota=anchor_quota(budget),
        )
        kept = np.zeros(self._frame.size, np.bool_)
        kept[candidates[order[:budget]]] = True
        cells = np.flatnonzero(kept[new])
        slots = np.flatnonzero(~kept[:budget])[: cells.size]
        # If a token was dropped, the bank is full: new tokens overwrite every slot that is not kept.
        self._keys[slots], self._values[slots] = tokens.keys[cells], tokens.values[cells]
        for field in (self._frame, self._cell, self._motion, self._uncertainty, self._score, self._anchor):
            field[slots] = field[budget + cells]
        self._frame[new] = NO_FRAME

    def _free(self, slots: NDArray[np.intp]) -> None:
        for field in (self._keys, self._values, self._cell, self._motion, self._uncertainty, self._score, self._anchor):
            field[slots] = 0
        self._frame[slots] = NO_FRAME

    def _ages(self, frame: int, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """min(frames since written, 128) / 128 as float32 (exact), 0 for empty slots."""
        since = np.minimum(frame - frames, AGE_FRAMES)
        return np.where(frames == NO_FRAME, 0, since).astype(np.float32) / np.float32(AGE_FRAMES)

    def _check_frame(self, frame: int) -> None:
        if frame < max(self.newest_frame, 0):
            raise _error("frame", f"index {max(self.newest_frame, 0)} or later", frame, "give frames in order")

    def _check_tokens(self, tokens: FrameTokens) -> None:
        self._check_frame(tokens.frame)
        wide, flat = (TOKENS_PER_FRAME, CHANNELS), (TOKENS_PER_FRAME,)
        _check_array("keys", tokens.keys, wide)
        _check_array("values", tokens.values, wide)
        _check_array("motion", tokens.motion, flat)
        _check_array("uncertainty", tokens.uncertainty, flat)

    def _check_scores(self, scores: NDArray[np.float32]) -> None:
        _check_array("scores", scores, (self._bank_tokens + TOKENS_PER_FRAME,))


def _read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """A read-only view with a batch axis in front."""
    view = array[np.newaxis]
    view.setflags(write=False)
    return view


def _check_array(name: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float32:
        got = f"{array.shape} {array.dtype}"
        raise _error(f"memory {name}", f"{shape} float32", got, "check the bank budget that the graphs were built for")
    if not np.isfinite(array).all():
        raise _error(f"memory {name}", "finite values", "NaN or infinity", "drop this frame")


def _error(what: str, expected: object, got: object, do: str) -> ContractError:
    return ContractError(explain(what, expected=expected, got=got, do=do))
