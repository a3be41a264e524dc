"""The progress bar of commands that go through frames: on stderr, with frames a second."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class FrameRateColumn(ProgressColumn):
    """Frames a second, over the last moments."""

    def render(self, task: Task) -> Text:
        """The text of the column; blank until there is a speed."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} frames/s", style="progress.data.speed")


def frame_progress() -> Progress:
    """A progress display for frames; a context manager. It shows on terminals only and vanishes at the end."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        FrameRateColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def item_progress() -> Progress:
    """A progress display for things that are worked through one by one; a context manager, as `frame_progress`."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
