"""The learning curve of a run as a picture: loss and IoU over the clips, and the score of held-out sequences."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from sam2lite_mobile.student.checkpoint import write_atomically
from sam2lite_mobile.training.recipe import Recipe
from sam2lite_mobile.training.run_log import LOG_NAME, kept_lines

CURVE_NAME = "learning_curve.svg"
SMOOTHED_SHARE = 0.05
"""Share of the run that a point of the bold line is a mean over."""
LINE, PALE, HELD_OUT = "#1f5fa8", "#a9c4e4", "#c0392b"


def write_learning_curve(folder: Path, recipe: Recipe, *, steps: int) -> Path | None:
    """Draw the log of the first `steps` steps of a run into its folder; None without matplotlib or lines to draw."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    import matplotlib

    lines = kept_lines(folder / LOG_NAME, finished_steps=steps)
    means = [line for line in lines if "loss" in line and "last_iou" in line]
    if not means:
        return None
    clips = np.array([line["step"] for line in means]) * recipe.batch_clips
    scored = [line for line in lines if "held_out_j" in line]
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, key, title in zip(
        figure.subplots(1, 2), ("loss", "last_iou"), ("loss", "IoU of a clip's last frame"), strict=True
    ):
        values = np.array([line[key] for line in means])
        axes.plot(clips, values, color=PALE, linewidth=0.8)
        axes.plot(clips, running_mean(values), color=LINE, linewidth=2, label="training clips")
        _mark_phases(axes, recipe, last_clip=clips[-1])
        axes.set_xlabel("clips")
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if key == "last_iou" and scored:
            at = [line["step"] * recipe.batch_clips for line in scored]
            axes.plot(at, [line["held_out_j"] for line in scored], "o-", color=HELD_OUT, label="J, held-out sequences")
            axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"{recipe.name}: {recipe.student}, seed {recipe.seed}", fontsize=11, x=0.01, ha="left")
    picture = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": recipe.name, "svg.fonttype": "none"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    path = folder / CURVE_NAME
    write_atomically(path, picture.getvalue())
    return path


def running_mean(values: np.ndarray) -> np.ndarray:
    """Means over a window around each value, cut off at both ends; as many as there are values."""
    half = max(1, round(len(values) * SMOOTHED_SHARE / 2))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.clip(np.arange(len(values)) - half, 0, None)
    last = np.clip(np.arange(len(values)) + half + 1, None, len(values))
    means: np.ndarray = (sums[last] - sums[first]) / (last - first)
    return means


def _mark_phases(axes: object, recipe: Recipe, *, last_clip: int) -> None:
    """A line where a phase begins, with its frames a clip."""
    for index, phase in enumerate(recipe.phases):
        begins = recipe.steps_of(index).start * recipe.batch_clips
        if begins < last_clip:
            axes.axvline(begins, color="0.6", linewidth=0.8, linestyle=":")  # type: ignore[attr-defined]
            axes.annotate(  # type: ignore[attr-defined]
                f" {phase.frames} frames",
                (begins, 1),
                xycoords=("data", "axes fraction"),
                va="top",
                fontsize=8,
                color="0.4",
            )
