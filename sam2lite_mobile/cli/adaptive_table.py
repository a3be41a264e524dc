"""The tables at the end of `sam2lite adaptive load`: both sides, and the goals."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from sam2lite_mobile.cli.eval_table import conditions_line
from sam2lite_mobile.cli.figure_table import figure_table
from sam2lite_mobile.evaluation.adaptive.under_load import LOSS_GOAL, ON_TARGET_GOAL, RATE_GOAL, UnderLoadResult


@dataclass(frozen=True)
class Goal:
    """A goal, what was measured, and whether it was reached."""

    what: str
    measured: str
    limit: str
    held: bool


def goals(result: UnderLoadResult) -> list[Goal]:
    """The three goals of a run under load."""
    settled = result.adaptive.on_target
    return [
        Goal("rate under load, adaptive / fixed", f"{result.rate:.2f}", f">= {RATE_GOAL}", result.rate >= RATE_GOAL),
        Goal(
            "points of J&F lost",
            f"{result.jf_lost:+.2f} (95%: {result.jf_lost_low:+.2f} to {result.jf_lost_high:+.2f})",
            f"<= {LOSS_GOAL}",
            result.jf_lost <= LOSS_GOAL,
        ),
        Goal("settled frames on target", f"{settled:.1%}", f">= {ON_TARGET_GOAL:.0%}", settled >= ON_TARGET_GOAL),
    ]


def print_under_load(result: UnderLoadResult, console: Console | None = None) -> None:
    """Print both sides, the goals, and what they hold for."""
    output = console or Console()
    table = figure_table("under load", "", "J&F", "frames/s, loaded", "quiet", "settled, on target")
    for name, side in (("fixed", result.fixed), ("adaptive", result.adaptive)):
        table.add_row(
            name,
            f"{100 * side.jf:.1f}",
            f"{side.loaded_fps:.2f}",
            f"{side.quiet_fps:.2f}",
            f"{side.on_target:.1%} of {side.settled}",
        )
    output.print(table)
    sizes = ", ".join(f"{frames} at {size} px" for size, frames in result.adaptive.sizes.items())
    output.print(f"frames under load, adaptive: {sizes}", highlight=False, markup=False)
    for goal in goals(result):
        word = "held" if goal.held else "missed"
        output.print(f"{goal.what}: {goal.measured}, goal {goal.limit}: {word}", highlight=False, markup=False)
    output.print(
        f"target {result.target_fps:.2f} frames a second; {result.processes} processes of load, on for "
        f"{result.loaded_frames} frames after {result.quiet_frames} without; load average {result.load_start} before, "
        f"{result.load_end} after",
        highlight=False,
        markup=False,
    )
    output.print(conditions_line(result.conditions), highlight=False, markup=False)
