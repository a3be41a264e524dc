"""Which of this processor's instructions make 8-bit integers faster than float32: dot products of four bytes."""

from __future__ import annotations

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
DOT_PRODUCT_FLAGS = ("avx_vnni", "avx_vnni_int8", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
"""As Linux names them, x86 (`flags`) and Arm (`Features`)."""
FLAG_LINES = ("flags", "Features")


def dot_product_flags(cpuinfo: str) -> list[str]:
    """The dot-product instructions that a text like /proc/cpuinfo names, in the order of DOT_PRODUCT_FLAGS.

    A machine of unequal cores has what each of them has: the benchmark does not choose its core.
    """
    cores = [
        set(value.split())
        for name, _, value in (line.partition(":") for line in cpuinfo.splitlines())
        if name.strip() in FLAG_LINES
    ]
    return [flag for flag in DOT_PRODUCT_FLAGS if cores and all(flag in core for core in cores)]


def this_dot_product() -> list[str] | None:
    """The dot-product instructions of this machine, an empty list for none; None where the system does not tell."""
    try:
        return dot_product_flags(CPUINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
