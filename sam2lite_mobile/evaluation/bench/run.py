"""One benchmark from its plan to its result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from sam2lite_mobile import __version__
from sam2lite_mobile.errors import ContractError, MissingBackendError, explain
from sam2lite_mobile.evaluation.bench.alone import MEMORY_SCOPE, in_new_process, measure_long_run, measure_memory
from sam2lite_mobile.evaluation.bench.clip import Clip, bench_clip
from sam2lite_mobile.evaluation.bench.conditions import all_notes, load_average
from sam2lite_mobile.evaluation.bench.opening import PeerSpec, SubjectSpec, open_subject
from sam2lite_mobile.evaluation.bench.results import (
    SCHEMA_VERSION,
    BenchResult,
    Memory,
    RunConditions,
    ratios_to,
    subject_result,
    verdicts,
)
from sam2lite_mobile.evaluation.bench.rounds import Observer, run_rounds
from sam2lite_mobile.evaluation.bench.subjects import Subject
from sam2lite_mobile.evaluation.conditions import this_machine


@dataclass(frozen=True)
class BenchPlan:
    """What a benchmark does.

    subjects: in the order in which a round runs them. peer: run EdgeTAM too, if it is installed. rounds: timed rounds,
    after `warm_up` that are thrown away. memory: measure peak memory, each subject in a process of its own.
    long_frames: frames of a long run of `long_subject`, 0 for none.
    """

    subjects: tuple[SubjectSpec, ...]
    peer: bool = True
    threads: int = 1
    rounds: int = 30
    warm_up: int = 2
    memory: bool = True
    long_frames: int = 0
    long_subject: SubjectSpec | None = None

    def __post_init__(self) -> None:
        if not self.subjects or min(self.rounds, self.threads) < 1 or self.warm_up < 0:
            raise ContractError(
                explain(
                    "benchmark",
                    expected="a subject, a thread and a round or more",
                    got=f"{len(self.subjects)} subjects, {self.threads} threads, {self.rounds} rounds",
                    do="correct the options",
                )
            )


def run_bench(plan: BenchPlan, *, on_stage: Observer | None = None, on_frame: Observer | None = None) -> BenchResult:
    """The result of a plan. A peer that is not installed is left out, with a note.

    on_stage hears what is being done, on_frame the subject of every frame of a round. Raises MissingBackendError if a
    subject's runtime is missing, and what subjects and `measure_long_run` raise.
    """
    tell = on_stage or (lambda _: None)
    load_start = load_average()
    clip = bench_clip()
    specs: list[SubjectSpec] = list(plan.subjects)
    subjects = [_ready(spec, clip, plan, tell) for spec in specs]
    notes = []
    peer = None
    if plan.peer:
        try:
            subjects.append(_ready(PeerSpec(), clip, plan, tell))
            specs.append(PeerSpec())
            peer = subjects[-1].facts.name
        except MissingBackendError as error:
            notes.append(f"no peer: {error}")
    tell("rounds")
    frames = run_rounds(subjects, rounds=plan.rounds, warm_up=plan.warm_up, on_frame=on_frame)
    load_end = load_average()
    facts = [subject.facts for subject in subjects]
    subjects.clear()  # their memory is free before other processes are measured
    memory = _memory(specs, [each.name for each in facts], plan, tell)
    results = [subject_result(each, frames[each.name], memory.get(each.name)) for each in facts]
    ratios = [] if peer is None else ratios_to(peer, frames)
    long_run = None
    if plan.long_frames and plan.long_subject is not None:
        tell(f"long run of {plan.long_frames} frames")
        long_run = in_new_process(measure_long_run, plan.long_subject, frames=plan.long_frames, threads=plan.threads)
    notes += all_notes(results, threads=plan.threads, loads=(load_start, load_end), environment=os.environ)
    conditions = RunConditions(
        package_version=__version__,
        machine=this_machine(),
        threads=plan.threads,
        clip=clip.name,
        rounds=plan.rounds,
        warm_up_rounds=plan.warm_up,
        memory_scope=MEMORY_SCOPE,
        load_start=load_start,
        load_end=load_end,
    )
    return BenchResult(SCHEMA_VERSION, conditions, results, ratios, verdicts(results, ratios), long_run, notes)


def _ready(spec: SubjectSpec, clip: Clip, plan: BenchPlan, tell: Observer) -> Subject:
    """A subject whose memory is full."""
    subject = open_subject(spec, clip, threads=plan.threads)
    tell(f"filling the memory of {subject.facts.name}")
    subject.prepare()
    return subject


def _memory(specs: Sequence[SubjectSpec], names: Sequence[str], plan: BenchPlan, tell: Observer) -> dict[str, Memory]:
    """Peak memory by name of the subject; empty if the plan leaves it out."""
    if not plan.memory:
        return {}
    found = {}
    for spec, name in zip(specs, names, strict=True):
        tell(f"memory of {name}")
        found[name] = in_new_process(measure_memory, spec, threads=plan.threads)
    return found
