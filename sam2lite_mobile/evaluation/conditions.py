"""What a measurement depends on: engine, weights, machine, data and options."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from sam2lite_mobile.evaluation.latency import TIMER_SCOPE
from sam2lite_mobile.runtime.engine import EngineDescription


class EngineInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """What ran: the engine's own description, and the hash of its weights where it is known.

    files_bytes: of the checkpoint, or of all files of the package, whatever sizes it has; None where not known.
    """

    name: str
    precision: str
    threads: Annotated[int, Meta(ge=0)]
    version: str
    detail: str
    checkpoint_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None
    files_bytes: Annotated[int, Meta(ge=0)] | None = None


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    """Where it ran."""

    system: str
    processor: str
    cores: Annotated[int, Meta(ge=1)]
    python: str


class Conditions(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a score depends on. Results may be compared, and runs resumed, where it is equal.

    budget: tokens of the memory bank; None keeps every token of every frame, whatever the window. selection: what
    scored the tokens, None without a budget. selection_seed: of the random selection, else None. loop_frames: frames
    that were tracked of each clip, forth and back; None: once forth. target_fps: sizes and windows are the scheduler's,
    for this rate. switch_every: another size after so many frames. With either, `size` and `window` are those of a
    prompted frame. processes: that shared the sequences, which times may depend on. min_quality, fine: remedies
    against known failures (`remedies.py`).
    """

    package_version: str
    data: str
    split: str
    sequences: list[str]
    prompt: str
    size: int
    window: int
    budget: Annotated[int, Meta(ge=1)] | None
    selection: str | None
    selection_seed: Annotated[int, Meta(ge=0)] | None
    max_frames: int | None
    engine: EngineInfo
    machine: Machine
    timer: str = TIMER_SCOPE
    loop_frames: int | None = None
    target_fps: Annotated[float, Meta(gt=0)] | None = None
    switch_every: Annotated[int, Meta(ge=1)] | None = None
    processes: Annotated[int, Meta(ge=1)] = 1
    min_quality: Annotated[float, Meta(ge=0, le=1)] = 0.0
    fine: bool = False


def engine_info(
    description: EngineDescription, checkpoint_sha256: str | None, *, files_bytes: int | None = None
) -> EngineInfo:
    """An engine's description with the hash of its weights and the bytes of its files."""
    return EngineInfo(
        name=description.name,
        precision=description.precision,
        threads=description.threads,
        version=description.version,
        detail=description.detail,
        checkpoint_sha256=checkpoint_sha256,
        files_bytes=files_bytes,
    )


def files_bytes(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processor=_processor_name(),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
    )


def _processor_name() -> str:
    """The processor's model where Linux tells it; elsewhere what the standard library knows."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
