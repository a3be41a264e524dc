"""What --selection, --selection-seed and --budget ask for: which tokens the memory keeps, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.contract import BANK_TOKENS_MAX, BANK_TOKENS_MIN
from sam2lite_mobile.errors import ContractError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.memory_choice import MemoryChoice

SelectionName = Annotated[
    str,
    typer.Option("--selection", metavar="gate|fifo|uniform|random|simple", help="What scores the memory's tokens."),
]
SelectionSeed = Annotated[
    int | None,
    typer.Option("--selection-seed", metavar="N", min=0, max=2**32 - 1, help="Of --selection random; 0 if left out."),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="N|unbounded",
        help=f"Tokens of the memory, {BANK_TOKENS_MIN} to {BANK_TOKENS_MAX}; the engine's own number if left out.",
    ),
]
UNBOUNDED = "unbounded"


def memory_choice(selection: str, *, seed: int | None, budget: str | None) -> MemoryChoice:
    """What the memory keeps. Raises ContractError for an unknown selection, or one that has nothing to choose."""
    from sam2lite_mobile.evaluation.memory_choice import MemoryChoice
    from sam2lite_mobile.evaluation.selection import Selection

    if selection not in list(Selection):
        raise ContractError(
            explain("--selection", expected=" or ".join(Selection), got=repr(selection), do="name one of these")
        )
    kind = Selection(selection)
    if seed is not None and kind is not Selection.RANDOM:
        raise ContractError(
            explain("--selection-seed", expected="--selection random", got=kind, do="leave the seed out")
        )
    if budget != UNBOUNDED:
        return MemoryChoice(kind, seed or 0)
    if kind is not Selection.GATE:
        raise ContractError(
            explain(f"--selection {kind}", expected="a budget", got=UNBOUNDED, do="leave one of the two out")
        )
    return MemoryChoice(None)


def bank_tokens(budget: str | None) -> int | None:
    """Tokens of the bank that an engine is asked for; None for its own number, as without a budget.

    Raises ContractError for what is neither `unbounded` nor a number that the contract has.
    """
    if budget is None or budget == UNBOUNDED:
        return None
    if not (budget.isascii() and budget.isdigit() and BANK_TOKENS_MIN <= int(budget) <= BANK_TOKENS_MAX):
        expected = f"{BANK_TOKENS_MIN} to {BANK_TOKENS_MAX}, or {UNBOUNDED}"
        raise ContractError(explain("--budget", expected=expected, got=repr(budget), do="name one of these"))
    return int(budget)
