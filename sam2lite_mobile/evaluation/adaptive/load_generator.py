"""Real load: processes that do nothing but compute, started and stopped beside a measurement."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Self

SPIN = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(100_000):
        pass
"""
"""What a process of load runs. It ends by itself where the one that started it is gone, however that ended."""


@dataclass(frozen=True)
class Pulses:
    """Load that comes and goes by frame: `quiet` frames without, then `loaded` frames with it, and again."""

    quiet: int = 15
    loaded: int = 30

    def loaded_at(self, frame: int) -> bool:
        """Whether the load is on in frame `frame` of a sequence, from 0."""
        return frame % (self.quiet + self.loaded) >= self.quiet

    def frames_since_change(self, frame: int) -> int:
        """Frames since the load came or went; a sequence starts with a change."""
        place = frame % (self.quiet + self.loaded)
        return place if place < self.quiet else place - self.quiet


class LoadGenerator:
    """`processes` spinning processes while it is on; a context manager that leaves none behind.

    They have this process's priority, so each takes as large a share of a processor as the tracker does.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def on(self) -> bool:
        """Whether the processes run."""
        return bool(self._running)

    def switch(self, on: bool) -> None:
        """Start the processes, or end them; nothing where that is so already."""
        if on and not self._running:
            command = [sys.executable, "-S", "-E", "-c", SPIN]
            for _ in range(self._processes):
                self._running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))
        elif not on:
            for process in self._running:
                process.kill()
            for process in self._running:
                process.wait()
            self._running = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.switch(False)
