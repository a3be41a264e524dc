"""Whether the figures can be trusted: the load of the machine, the threads that really ran, what was not measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from sam2lite_mobile.evaluation.bench.results import SubjectResult
from sam2lite_mobile.evaluation.bench.subjects import TOTAL

IDLE_LOAD = 0.5
"""One-minute load average above which something else was running: on an idle machine it is below 0.1."""
WAITING = 1.1
"""Wall over processor time of a frame on one thread: above this, the process waited for a processor."""
SPREADING = 1.1
"""Processor over wall time of a frame, per thread that was allowed: above this, more threads ran."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
INTERPRETER = "coreml-interpreter"


def load_average() -> float | None:
    """Average number of runnable processes over the last minute; None where the system has no such figure."""
    if sys.platform == "win32":
        return None
    return os.getloadavg()[0]


def thread_notes(threads: int, environment: Mapping[str, str]) -> list[str]:
    """A note for each thread variable of the environment that says something other than `threads`."""
    given = {name: environment[name] for name in THREAD_VARIABLES if name in environment}
    return [
        f"{name}={value} in the environment, {threads} for torch: set it to {threads}, libraries beside torch read it"
        for name, value in given.items()
        if value != str(threads)
    ]


def load_notes(start: float | None, end: float | None, *, threads: int) -> list[str]:
    """A note if the machine was busy before the run, or busier after it than the run itself made it."""
    notes = []
    if start is not None and start > IDLE_LOAD:
        notes.append(f"the machine was busy before the run (load average {start:.2f}): wall times are not reliable")
    if end is not None and end > threads + IDLE_LOAD:
        notes.append(f"the machine was busy at the end (load average {end:.2f} with {threads} of ours)")
    return notes


def subject_notes(subject: SubjectResult, *, threads: int) -> list[str]:
    """What a reader has to know before using a subject's figures."""
    notes = []
    total = subject.parts[TOTAL]
    wall, cpu = total.wall_ms.p50, total.cpu_ms.p50
    if threads == 1 and wall > WAITING * cpu:
        notes.append(f"{subject.name}: wall time is {wall / cpu:.2f} of processor time: it waited for a processor")
    if cpu > SPREADING * threads * wall:
        notes.append(f"{subject.name}: {cpu / wall:.1f} processors were used where {threads} were allowed")
    if subject.not_remembered:
        frames = total.wall_ms.frames
        notes.append(f"{subject.name}: {subject.not_remembered} of {frames} frames wrote no memory and did less work")
    if subject.engine.name == INTERPRETER:
        notes.append(f"{subject.name}: times of our interpreter of ML Programs; they say nothing about Core ML")
    return notes


def all_notes(
    subjects: Sequence[SubjectResult],
    *,
    threads: int,
    loads: tuple[float | None, float | None],
    environment: Mapping[str, str],
) -> list[str]:
    """Every note on a run: threads, load at start and end, then subject by subject."""
    notes = thread_notes(threads, environment) + load_notes(*loads, threads=threads)
    for subject in subjects:
        notes += subject_notes(subject, threads=threads)
    return notes
