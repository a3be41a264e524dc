"""Stopping cleanly on Ctrl-C: the first one asks the loop to end after the current frame, a second one breaks off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT."""


@dataclass
class StopRequest:
    """Whether Ctrl-C was pressed."""

    requested: bool = False


@contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """A flag that the first SIGINT sets. A second one raises KeyboardInterrupt.

    Encoders and half-written files are never interrupted in the middle that way. Signals reach the main thread only;
    in another thread the flag stays false.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
