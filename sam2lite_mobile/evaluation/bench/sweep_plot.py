"""The sweeps of a benchmark as pictures: milliseconds a frame against size, tokens and objects."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

from sam2lite_mobile.errors import MissingBackendError, explain
from sam2lite_mobile.evaluation.bench.results import Sweep
from sam2lite_mobile.evaluation.bench.tables import AXIS_WORDS
from sam2lite_mobile.media.atomic_file import replace_file

COLOURS = ("#1f5fa8", "#c0392b", "#2e8b57", "#8e5bb5", "#d98e04", "#17828f", "#7f5539", "#555555")
"""One a runtime; its recipes differ by the stroke."""
STROKES = {"fp32": "-", "fp16": "-.", "w8": ":", "w8a8": "--"}
OTHER_STROKE = (0, (3, 1, 1, 1))
"""Of a recipe that has none of its own, such as Core ML's palettes."""


def check_plotting() -> None:
    """Raise MissingBackendError where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        raise MissingBackendError(
            explain("plots", expected="matplotlib", got="none", do="pip install 'sam2lite-mobile[train]'")
        )


def write_sweep_plots(sweeps: list[Sweep], folder: Path, *, prefix: str) -> list[Path]:
    """Draw each sweep to `<prefix>_<axis>.svg` in a folder and return the paths; equal results give equal files.

    Raises MissingBackendError where matplotlib is missing, DataError where the folder cannot be written to.
    """
    check_plotting()
    paths = []
    for sweep in sweeps:
        path = folder / f"{prefix}_{sweep.axis}.svg"
        replace_file(path, sweep_picture(sweep))
        paths.append(path)
    return paths


def sweep_picture(sweep: Sweep, *, form: str = "svg") -> bytes:
    """A sweep as a picture: whole frames, a line a student and runtime; a line of one point is a mark. form: svg, png.

    The axis of time starts at 0 and is linear, so that heights can be compared.
    """
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4), layout="constrained", dpi=100)
    axes = figure.subplots()
    lines = dict.fromkeys(point.line for point in sweep.points)
    runtimes = list(dict.fromkeys(_runtime(line) for line in lines))
    for line in lines:
        points = sorted((point for point in sweep.points if point.line == line), key=lambda point: point.value)
        axes.plot(
            [point.value for point in points],
            [point.wall_ms.p50 for point in points],
            marker="o",
            markersize=4,
            linewidth=1.6,
            color=COLOURS[runtimes.index(_runtime(line)) % len(COLOURS)],
            linestyle=STROKES.get(_recipe(line), OTHER_STROKE),
            label=line,
        )
    axes.set_xticks(sorted({point.value for point in sweep.points}))
    axes.set_ylim(0, 1.08 * max(point.wall_ms.p50 for point in sweep.points))
    axes.set_xlabel(AXIS_WORDS[sweep.axis])
    axes.set_ylabel("median ms a frame")
    axes.set_title(sweep.fixed, loc="left", fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    picture = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": sweep.axis, "svg.fonttype": "none"}):
        figure.savefig(picture, format=form, metadata={"Date": None} if form == "svg" else None)
    return picture.getvalue()


def _runtime(line: str) -> str:
    """Student and runtime of a line: what shares a colour."""
    return " ".join(line.split()[:2])


def _recipe(line: str) -> str:
    """The recipe of a line `student runtime recipe`, which may go on after a comma."""
    return line.partition(",")[0].split()[-1]
