"""`sam2lite sensitivity`: which layers suffer from 8-bit integers, measured one at a time on real frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.cli.engine_options import Checkpoint, Size
from sam2lite_mobile.errors import ContractError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.datasets import DavisLayout
    from sam2lite_mobile.evaluation.prompted_clip import PromptedClip
    from sam2lite_mobile.quantization.sensitivity import LayerCost
    from sam2lite_mobile.quantization.sensitivity_result import SensitivityResult
    from sam2lite_mobile.student.student import Student

FRAMES_MIN = 3
Result = Annotated[Path, typer.Option("--json", metavar="FILE", help="Where the result goes.")]
Recipe = Annotated[str, typer.Option("--recipe", metavar="w8|w8a8", help="What is done to a layer.")]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="ROOT", help="Sequences in DAVIS layout; the sample clip if left out.")
]
Sequences = Annotated[
    str | None, typer.Option("--sequences", metavar="A,B", help="Of the data; the first if left out.")
]
Frames = Annotated[int, typer.Option("--frames", metavar="N", min=FRAMES_MIN, help="Of each sequence.")]
Layers = Annotated[str | None, typer.Option("--layers", metavar="PATTERN", help="Only these, a regular expression.")]
Top = Annotated[int, typer.Option("--top", metavar="N", min=1, help="Rows of the table; the file has all layers.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("sensitivity")(sensitivity)


def sensitivity(
    result: Result,
    checkpoint: Checkpoint = None,
    recipe: Recipe = "w8a8",
    size: Size = 256,
    data: Data = None,
    sequences: Sequences = None,
    frames: Frames = 12,
    layers: Layers = None,
    top: Top = 20,
) -> None:
    """Rank the layers of a student by what 8-bit integers in them alone cost.

    Clips are tracked from their first mask, once in float32 and once for every layer with only that layer rounded, its
    errors in memory included. The table is sorted by the signal-to-noise ratio of the mask logits: masks of single
    layers hardly differ. Two more rows show all layers together, with and without the exceptions of the policy.
    """
    from sam2lite_mobile.cli.progress import item_progress
    from sam2lite_mobile.engines.torch_engine import default_checkpoint
    from sam2lite_mobile.evaluation.conditions import this_machine
    from sam2lite_mobile.evaluation.datasets import DavisLayout, sample_clip
    from sam2lite_mobile.quantization.sensitivity import Sensitivity
    from sam2lite_mobile.quantization.sensitivity_result import SensitivityResult, write_sensitivity
    from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student

    if recipe not in ("w8", "w8a8"):
        raise ContractError(explain("--recipe", expected="w8 or w8a8", got=recipe, do="choose one of the two"))
    chosen = checkpoint or default_checkpoint()
    layout = sample_clip() if data is None else DavisLayout(data)
    clips = _clips(layout, sequences, frames=frames)
    student = load_student(chosen).eval()
    names = _matching(student, layers)
    sensitivities = Sensitivity(student, clips, recipe=recipe, size=size)
    costs = []
    with item_progress() as progress:
        task = progress.add_task("layers", total=len(names))
        for cost in sensitivities.of_layers(names):
            costs.append(cost)
            progress.advance(task)
    together = [sensitivities.of_policy(exceptions=exceptions) for exceptions in (False, True)]
    costs.sort(key=lambda cost: (cost.logits_db, cost.layer))
    measured = SensitivityResult(
        checkpoint_sha256=checkpoint_hash(chosen),
        recipe=recipe,
        size=size,
        data=layout.root.resolve().name,
        sequences=[clip.name for clip in clips],
        frames=frames,
        machine=this_machine(),
        layers=costs,
        together=together,
    )
    write_sensitivity(result, measured)
    _show(measured, top=top)


def _clips(layout: DavisLayout, sequences: str | None, *, frames: int) -> list[PromptedClip]:
    from sam2lite_mobile.evaluation.prompted_clip import read_clip

    known = layout.sequence_names()
    names = known[:1] if sequences is None else tuple(name.strip() for name in sequences.split(","))
    clips = [read_clip(layout, name, frames=frames) for name in layout.checked(names, where="--sequences")]
    for clip in clips:
        if len(clip.frames) < frames:
            got = len(clip.frames)
            raise ContractError(explain(clip.name, expected=f"{frames} frames", got=got, do="ask for fewer frames"))
    return clips


def _matching(student: Student, pattern: str | None) -> list[str]:
    import re

    from sam2lite_mobile.quantization.policy import quantizable_layers

    names = list(quantizable_layers(student))
    try:
        found = [name for name in names if pattern is None or re.search(pattern, name)]
    except re.error as error:
        raise ContractError(
            explain("--layers", expected="a regular expression", got=str(error), do="correct it")
        ) from error
    if not found:
        raise ContractError(explain("--layers", expected=f"one of {names[0]}, ...", got=pattern, do="widen it"))
    return found


def _show(measured: SensitivityResult, *, top: int) -> None:
    from rich.console import Console

    from sam2lite_mobile.cli.figure_table import figure_table

    columns = ("layer", "weights", "logits dB", "worst IoU", "policy")
    table = figure_table(f"one layer in {measured.recipe}, the rest in float32", *columns)
    for cost in measured.layers[:top]:
        table.add_row(*_row(cost), "float" if cost.exception else "int8")
    table.add_section()
    for cost in measured.together:
        table.add_row(*_row(cost), "")
    console = Console()
    console.print(table)
    console.print(
        f"{measured.data}: {', '.join(measured.sequences)}, {measured.frames} frames each, {measured.size} px, mask "
        f"prompt, torch float32 with fake quantization, 1 thread, {measured.machine.processor}",
        highlight=False,
        markup=False,
    )


def _row(cost: LayerCost) -> tuple[str, ...]:
    return (cost.layer, str(cost.weights), f"{cost.logits_db:.1f}", f"{cost.worst_iou:.3f}")
