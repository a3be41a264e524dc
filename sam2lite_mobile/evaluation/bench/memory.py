"""Memory of this process: what the system says that it holds, and the most that it ever held."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
HAS_STATUS = STATUS.is_file()
PEAK_SOURCE = "VmHWM" if HAS_STATUS else "ru_maxrss"
"""Where the peak is read. Linux hands a parent's ru_maxrss down through exec, so a child's own peak is VmHWM there."""


def peak_bytes() -> int:
    """The largest resident set that this process has had since it was started, in bytes."""
    if HAS_STATUS:
        return _status_bytes("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, others KiB


def resident_bytes() -> int:
    """The resident set now, in bytes; the peak where the system does not tell (not on Linux)."""
    return _status_bytes("VmRSS") if HAS_STATUS else peak_bytes()


def _status_bytes(field: str) -> int:
    for line in STATUS.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{STATUS} has no {field}")
