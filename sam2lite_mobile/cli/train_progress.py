"""What `sam2lite train` shows while it runs: a bar on a terminal, a line for every log line elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainProgress:
    """Shows finished steps, loss and IoU on stderr; a context manager."""

    def __init__(self, name: str, *, steps: int, quiet: bool = False, console: Console | None = None) -> None:
        """name: of the recipe. steps: in all. quiet: say nothing. console: stderr if None."""
        self._console = console or Console(stderr=True, quiet=quiet)
        self._steps = steps
        self._begun = False
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(name, total=steps, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, step: int, line: Mapping[str, float] | None) -> None:
        """Take in the number of finished steps, and a line of the log if one was written."""
        if not self._begun:
            self._begun = True
            self._print(f"begins after step {step} of {self._steps}")
        self._bar.update(self._task, completed=step)
        if line is None:
            return
        note = f"loss {line['loss']:.3f}, IoU {line['last_iou']:.3f}"
        self._bar.update(self._task, note=note)
        if not self._console.is_terminal:
            self._print(f"step {step} of {self._steps}: {note}, {line['seconds']:.0f} s")

    def _print(self, text: str) -> None:
        """A line above the bar, or in a log file: no markup, no line breaks of a terminal's width."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
