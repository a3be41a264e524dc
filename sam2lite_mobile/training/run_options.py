"""Options of a run that do not change what is trained. Imports nothing heavy: the command line reads the defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam2lite_mobile.errors import ContractError, explain


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes, and how often it is saved, logged and measured.

    data_root: folder with `train/`. Numbers of steps are 1 or more; validate_every 0 measures nothing. workers:
    processes that make batches ahead, for each process that trains; 0 makes them in between. micro_clips: clips that
    go through the student at once; their gradients add up to those of the batch. None: all that a process has.
    teacher_cache: folder of a teacher's answers, read and added to; None: the teacher answers anew each time.
    """

    out: Path
    data_root: Path
    workers: int = 1
    save_every: int = 200
    log_every: int = 20
    sample_every: int = 500
    validate_every: int = 0
    micro_clips: int | None = None
    teacher_cache: Path | None = None
    resume: bool = False
    stop_after: int | None = None
    """Stop (and save) once this many steps are finished in all; None runs to the end."""

    def __post_init__(self) -> None:
        """Raise ContractError for a number that makes no sense."""
        for name in ("save_every", "log_every", "sample_every", "stop_after", "micro_clips"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ContractError(explain(name, expected="1 or more", got=value, do="correct it"))
        for name in ("workers", "validate_every"):
            value = getattr(self, name)
            if value < 0:
                raise ContractError(explain(name, expected="0 or more", got=value, do="correct it"))
