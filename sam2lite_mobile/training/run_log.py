"""The log of a run: log.jsonl, one JSON object a line, and the same numbers for TensorBoard where it is installed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sam2lite_mobile.student.checkpoint import write_atomically

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_NAME = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


class RunLog:
    """Appends lines about finished steps; a context manager.

    A run that was killed may have logged steps that its state does not have, or half a line: both are dropped when
    the log is opened, so that every step occurs once. `seconds` in a line are of training in all, with those before
    the run was resumed.
    """

    def __init__(self, folder: Path, *, finished_steps: int) -> None:
        """Open the log of a run that goes on after `finished_steps` steps."""
        path = folder / LOG_NAME
        kept = kept_lines(path, finished_steps=finished_steps)
        text = "".join(json.dumps(line) + "\n" for line in kept).encode()
        if path.exists() and path.read_bytes() != text:
            write_atomically(path, text)
        self._seconds_before = max((float(line.get("seconds", 0)) for line in kept), default=0.0)
        self._started = time.monotonic()
        self._waited = 0.0
        self._collected: dict[str, list[float]] = {}
        self._board = open_tensorboard(folder / TENSORBOARD_FOLDER, finished_steps=finished_steps)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def collect(self, parts: Mapping[str, float], *, waited: float) -> None:
        """Take in the numbers of one step, and the seconds that it waited for its batch."""
        self._waited += waited
        for name, value in parts.items():
            self._collected.setdefault(name, []).append(value)

    def write_means(self, step: int, facts: Mapping[str, float]) -> dict[str, float]:
        """Write a line and give its numbers back: means over the steps since the last such line, `facts`, the time."""
        spent = time.monotonic() - self._started
        numbers = {name: round(sum(values) / len(values), 5) for name, values in self._collected.items()}
        self._collected.clear()
        numbers |= {"step": step, **facts, "seconds": round(self._seconds_before + spent, 1)}
        numbers |= {"data_wait_share": round(self._waited / max(spent, 1e-9), 4)}
        self._append(numbers, step=step, scalars=numbers)
        return numbers

    def write_validation(self, step: int, mean_j: float, by_sequence: Mapping[str, float]) -> None:
        """Write a line about the held-out sequences."""
        line = {"step": step, "held_out_j": mean_j, "held_out": dict(by_sequence)}
        scalars = {"held_out_j": mean_j} | {f"held_out/{name}": value for name, value in by_sequence.items()}
        self._append(line, step=step, scalars=scalars)

    def write_skipped(self, step: int, report: str) -> None:
        """Write a line about a draw of training data that was skipped while step + 1 was being made."""
        self._append({"step": step, "skipped": report}, step=step, scalars={})

    def _append(self, line: Mapping[str, object], *, step: int, scalars: Mapping[str, float]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in scalars.items():
                if name != "step":
                    self._board.add_scalar(name, value, step)
            self._board.flush()


def kept_lines(path: Path, *, finished_steps: int) -> list[dict[str, Any]]:
    """The whole lines of a log that are about the first `finished_steps` steps; none where there is no log."""
    kept = []
    for text in path.read_text("utf-8", errors="replace").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and line["step"] <= finished_steps:
            kept.append(line)
    return kept


def open_tensorboard(folder: Path, *, finished_steps: int) -> SummaryWriter | None:
    """A writer that hides what an earlier process wrote about later steps; None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    purge = finished_steps + 1 if finished_steps else None
    return SummaryWriter(log_dir=str(folder), purge_step=purge)
