"""Peak memory of training: this process, the worker processes that make its batches, and the GPU."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import torch

from sam2lite_mobile.evaluation.bench.memory import PEAK_SOURCE, peak_bytes
from sam2lite_mobile.training.cost.results import PeakMemory

MEMORY_SCOPE = (
    f"largest resident set of each process ({PEAK_SOURCE}), worker processes added up, pages that they share counted "
    "in each; on a GPU the most that torch had allocated. Warm-up included"
)
RESET_PEAK = "5"
"""What /proc/self/clear_refs takes to set VmHWM back to what is resident now (proc(5), since Linux 4.0)."""


class PeakWatch:
    """Peak memory since it was made. `since_start`: the system cannot forget an older peak of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.since_start = not _forget_peak()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> PeakMemory:
        """The peaks; the worker processes must be alive."""
        on_gpu = self._device.type == "cuda"
        return PeakMemory(
            process_bytes=peak_bytes(),
            workers_bytes=children_peak_bytes(),
            device_bytes=torch.cuda.max_memory_allocated(self._device) if on_gpu else None,
        )


def children_peak_bytes() -> int | None:
    """Peaks of the living child processes added up; None where the system does not tell (not on Linux)."""
    if not Path("/proc/self/status").is_file():
        return None
    return sum(_peak_of(child.pid) for child in multiprocessing.active_children() if child.pid is not None)


def _peak_of(pid: int) -> int:
    """VmHWM of a process in bytes, 0 if it has just ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    values = (line.split()[1] for line in text.splitlines() if line.startswith("VmHWM:"))
    return int(next(values, "0")) * 1024


def _forget_peak() -> bool:
    """Whether this process's peak now counts from here."""
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True
