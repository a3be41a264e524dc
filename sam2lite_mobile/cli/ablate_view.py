"""What `sam2lite ablate` shows: a bar for all runs while they train, and the table of variants at the end."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from sam2lite_mobile.training.ablation import suite_run
from sam2lite_mobile.training.ablation.outcome import Outcome, rows, signed
from sam2lite_mobile.training.ablation.suites import Suite


class SuiteProgress:
    """Steps of all runs together on stderr, and a line for each run that ends; a context manager."""

    def __init__(self, wanted: Sequence[suite_run.Task], *, console: Console | None = None) -> None:
        """wanted: all runs. console: stderr if None."""
        self._console = console or Console(stderr=True)
        self._steps = {task.name: 0 for task in wanted}
        self._ended: set[str] = set()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=sum(task.recipe.steps for task in wanted))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, progress: suite_run.Progress) -> None:
        """Take in how far a run is."""
        self._steps[progress.run] = progress.step
        if progress.step == progress.steps and progress.run not in self._ended:
            self._ended.add(progress.run)
            line = f"{len(self._ended)} of {len(self._steps)} runs are trained: {progress.run}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        self._bar.update(
            self._task,
            completed=sum(self._steps.values()),
            description=f"{len(self._ended)} of {len(self._steps)} runs",
        )


def print_outcome(suite: Suite, outcome: Outcome, *, console: Console | None = None) -> None:
    """The table of variants, on stdout."""
    table = Table(title=f"{suite.name}: J&F on held-out sequences, {outcome.size} px, mask prompt")
    table.add_column("variant")
    for heading in ("seeds", "J&F", "spread", "difference", "its spread", "methodology"):
        table.add_column(heading, justify="right")
    for row in rows(suite, outcome.runs):
        spread = "" if row.difference_spread is None else f"{row.difference_spread:.1f}"
        table.add_row(
            row.title,
            str(row.seeds),
            f"{row.mean:.1f}",
            f"{row.spread:.1f}",
            signed(row.difference),
            spread,
            signed(row.published),
        )
    (console or Console()).print(table)
