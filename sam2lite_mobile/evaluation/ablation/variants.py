"""The variants of the suite `inference`: the default, and one choice at a time that differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam2lite_mobile.contract import BANK_TOKENS, SIZES, WINDOW_MAX, WINDOW_MIN, all_graph_specs
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.evaluation.memory_choice import MemoryChoice
from sam2lite_mobile.evaluation.pacing import FIXED, Pace, SwitchingPace, TargetPace
from sam2lite_mobile.evaluation.selection import Selection

SUITE = "inference"
DEFAULT = "default"
BUDGETS = (128, 256, BANK_TOKENS, 512)
"""Tokens of the memory bank, as the methodology's section 8 varies them."""
SWITCH_EVERY = 5
"""Frames at a size in the variant that changes it all the time."""
RATE_GAIN = 1.28
"""Frame rate that the scheduler is asked for over the default's: 31.2 of 24.3, the methodology's own gain."""
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Variant:
    """One way to run the same student.

    name: of its files. factor: what differs from the default. budget: tokens of the bank. switch_every: another size
    after so many frames. adaptive: sizes are the scheduler's, for RATE_GAIN times the default's frame rate.
    """

    name: str
    factor: str
    title: str
    size: int
    window: int = WINDOW_MAX
    budget: int = BANK_TOKENS
    selection: Selection = Selection.GATE
    switch_every: int | None = None
    adaptive: bool = False

    @property
    def memory(self) -> MemoryChoice:
        """What the tracker remembers."""
        return MemoryChoice(self.selection)

    @property
    def bank_bytes(self) -> int:
        """Bytes of what the decoder reads of one object's bank: keys, values, ages, masks, anchors, as float32."""
        specs = all_graph_specs((self.size,), bank_tokens=self.budget)
        decoder = next(spec for spec in specs if spec.graph == "mask_decoder")
        sides = [tensor.shape for tensor in decoder.inputs if tensor.name.startswith("memory_")]
        return FLOAT_BYTES * sum(_product(shape) for shape in sides)

    def pace(self, sizes: Sequence[int], *, target_fps: float | None) -> Pace:
        """How sizes go from frame to frame. sizes: of the engine. target_fps: of the adaptive variant."""
        offered = tuple(size for size in sizes if size <= self.size)
        if self.switch_every is not None:
            return SwitchingPace(self.switch_every, offered)
        if self.adaptive and target_fps is not None:
            return TargetPace(target_fps, offered)
        return FIXED


def inference_variants(
    size: int, *, sizes: Sequence[int] = SIZES, budget: int = BANK_TOKENS, fixed_budget: bool = False
) -> tuple[Variant, ...]:
    """All variants around the default at `size`, the default first.

    sizes: that the engine has. budget: of the default. fixed_budget: the engine has no other, as a package has not.
    """
    base = Variant(DEFAULT, DEFAULT, f"default: {size} px, {budget} tokens", size)
    budgets = () if fixed_budget else tuple(each for each in BUDGETS if each != budget)
    smaller = sorted((each for each in sizes if each < size), reverse=True)
    found = [
        base,
        *(Variant(f"budget_{each}", "budget", f"{each} tokens", size, budget=each) for each in budgets),
        *(
            Variant(f"window_{each}", "window", f"window {each}", size, window=each)
            for each in range(WINDOW_MIN, WINDOW_MAX)
        ),
        *(
            Variant(f"selection_{each}", "selection", f"tokens by {each}", size, selection=each)
            for each in Selection
            if each is not Selection.GATE
        ),
        *(Variant(f"size_{each}", "size", f"{each} px", each) for each in smaller),
    ]
    if smaller:
        switching = f"new size every {SWITCH_EVERY} frames"
        found += [
            Variant("switching", "adaptive", switching, size, switch_every=SWITCH_EVERY),
            Variant("adaptive", "adaptive", f"scheduler, {RATE_GAIN} times the rate", size, adaptive=True),
        ]
    return tuple(each if each.factor == "budget" else _with_budget(each, budget) for each in found)


def chosen_variants(variants: Sequence[Variant], text: str | None) -> tuple[Variant, ...]:
    """The default and the variants, or factors, that `text` names with commas; all of them for None.

    Raises ContractError for an unknown name.
    """
    if text is None:
        return tuple(variants)
    wanted = {name.strip() for name in text.split(",") if name.strip()}
    known = {name for each in variants for name in (each.name, each.factor)}
    unknown = sorted(wanted - known)
    if unknown or not wanted:
        expected = (
            ", ".join(dict.fromkeys(each.factor for each in variants))
            + ", or "
            + ", ".join(each.name for each in variants[1:])
        )
        raise ContractError(
            explain("--variants", expected=expected, got=", ".join(unknown) or repr(text), do="name some of these")
        )
    return tuple(each for each in variants if each.name == DEFAULT or {each.name, each.factor} & wanted)


def _with_budget(variant: Variant, budget: int) -> Variant:
    return variant if variant.budget == budget else Variant(**{**vars(variant), "budget": budget})


def _product(shape: Sequence[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
