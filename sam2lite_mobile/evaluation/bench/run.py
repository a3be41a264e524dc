"""One benchmark from its plan to its result."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sam2lite_mobile import __version__
from sam2lite_mobile.engines.processor import this_dot_product
from sam2lite_mobile.errors import ContractError, MissingBackendError, explain
from sam2lite_mobile.evaluation.bench.alone import MEMORY_SCOPE, in_new_process, measure_long_run, measure_memory
from sam2lite_mobile.evaluation.bench.clip import Clip, bench_clip
from sam2lite_mobile.evaluation.bench.comparisons import byte_ratios, time_ratios
from sam2lite_mobile.evaluation.bench.conditions import all_notes, load_average
from sam2lite_mobile.evaluation.bench.opening import Package, PeerSpec, SubjectSpec, hold_threads, open_subject
from sam2lite_mobile.evaluation.bench.results import (
    SCHEMA_VERSION,
    BenchResult,
    GraphWork,
    Memory,
    Peak,
    RunConditions,
    Sweep,
    subject_result,
)
from sam2lite_mobile.evaluation.bench.rounds import Observer, run_rounds
from sam2lite_mobile.evaluation.bench.subjects import FrameTimes, Subject, SubjectFacts
from sam2lite_mobile.evaluation.bench.sweep import sweep_points, sweep_specs, sweeps
from sam2lite_mobile.evaluation.bench.verdicts import goal_notes, verdicts
from sam2lite_mobile.evaluation.conditions import this_machine


@dataclass(frozen=True)
class BenchPlan:
    """What a benchmark does.

    subjects: in the order in which a round runs them. peer: run EdgeTAM too, if it is installed. rounds: timed rounds,
    after `warm_up` that are thrown away. memory: measure peak memory, each subject in a process of its own. sweep:
    afterwards, in rounds of their own, frames at several sizes, budgets and numbers of objects, on Nano and on
    `sweep_packages`.
    long_frames: frames of a long run of `long_subject`, 0 for none.
    """

    subjects: tuple[SubjectSpec, ...]
    peer: bool = True
    threads: int = 1
    rounds: int = 30
    warm_up: int = 2
    memory: bool = True
    sweep: bool = False
    sweep_packages: tuple[Package, ...] = ()
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
        twice = [name for name, count in Counter(spec.name for spec in self.subjects).items() if count > 1]
        if twice:
            raise ContractError(
                explain(
                    "subjects of the benchmark",
                    expected="each student, runtime, recipe and size once",
                    got=f"{', '.join(twice)} twice",
                    do="leave one of the packages out",
                )
            )


def run_bench(plan: BenchPlan, *, on_stage: Observer | None = None, on_frame: Observer | None = None) -> BenchResult:
    """The result of a plan. A peer that is not installed is left out, with a note.

    on_stage hears what is being done, on_frame the subject of every frame of a round. Raises MissingBackendError if a
    subject's runtime is missing, and what subjects and `measure_long_run` raise.
    """
    tell = on_stage or (lambda _: None)
    hold_threads(plan.threads)
    load_start = load_average()
    clip = bench_clip()
    specs: list[SubjectSpec] = list(plan.subjects)
    subjects = [_ready(spec, clip, plan, tell) for spec in specs]
    notes = []
    if plan.peer:
        try:
            subjects.append(_ready(PeerSpec(), clip, plan, tell))
            specs.append(PeerSpec())
        except MissingBackendError as error:
            notes.append(f"no peer: {error}")
    facts = [subject.facts for subject in subjects]
    product = _product()
    tell("rounds")
    frames = run_rounds([*subjects, product], rounds=plan.rounds, warm_up=plan.warm_up, on_frame=on_frame)
    subjects.clear()  # their memory is free before anything else is measured
    swept = _sweeps(plan, clip, tell, on_frame)
    load_end = load_average()
    memory = _memory(specs, plan, tell)
    peak, work, peak_notes = _work(facts, frames, product.facts.name, threads=plan.threads)
    results = [
        subject_result(each, frames[each.name], memory.get(each.name), work=work.get(each.name)) for each in facts
    ]
    ratios = time_ratios(facts, frames)
    bytes_ratios = byte_ratios(facts, memory)
    long_run = None
    if plan.long_frames and plan.long_subject is not None:
        tell(f"long run of {plan.long_frames} frames")
        long_run = in_new_process(measure_long_run, plan.long_subject, frames=plan.long_frames, threads=plan.threads)
    dot_product = this_dot_product()
    notes += all_notes(results, threads=plan.threads, loads=(load_start, load_end), environment=os.environ)
    notes += peak_notes
    notes += goal_notes(ratios, rounds=plan.rounds, threads=plan.threads, dot_product=dot_product)
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
        dot_product=dot_product,
    )
    judged = verdicts(results, ratios, bytes_ratios, dot_product=dot_product)
    return BenchResult(
        schema_version=SCHEMA_VERSION,
        conditions=conditions,
        subjects=results,
        ratios=ratios,
        bytes_ratios=bytes_ratios,
        verdicts=judged,
        peak=peak,
        sweeps=swept,
        long_run=long_run,
        notes=notes,
    )


def _ready(spec: SubjectSpec, clip: Clip, plan: BenchPlan, tell: Observer) -> Subject:
    """A subject whose memory is full."""
    subject = open_subject(spec, clip, threads=plan.threads)
    tell(f"filling the memory of {subject.facts.name}")
    subject.prepare()
    return subject


def _product() -> Subject:
    """The product of matrices that runs in every round."""
    from sam2lite_mobile.evaluation.bench.matrix_product import MatrixProduct

    product = MatrixProduct()
    product.prepare()
    return product


def _work(
    facts: Sequence[SubjectFacts], frames: Mapping[str, Sequence[FrameTimes]], product: str, *, threads: int
) -> tuple[Peak, dict[str, dict[str, GraphWork]], list[str]]:
    """The machine's peak, what each graph reaches of it, by subject and graph, and notes on both."""
    from sam2lite_mobile.evaluation.bench.graph_work import measured_work
    from sam2lite_mobile.evaluation.bench.matrix_product import peak_notes

    peak, work = measured_work(facts, frames, product=frames[product])
    return peak, work, peak_notes(frames[product], threads=threads)


def _sweeps(plan: BenchPlan, clip: Clip, tell: Observer, on_frame: Observer | None) -> list[Sweep]:
    """What a frame costs along each axis; empty if the plan leaves it out."""
    if not plan.sweep:
        return []
    points = sweep_points(plan.sweep_packages)
    subjects = [_ready(spec, clip, plan, tell) for spec in sweep_specs(points)]
    tell("rounds of the sweep")
    frames = run_rounds(subjects, rounds=plan.rounds, warm_up=plan.warm_up, on_frame=on_frame)
    return sweeps(points, frames)


def _memory(specs: Sequence[SubjectSpec], plan: BenchPlan, tell: Observer) -> dict[str, Memory]:
    """Peak memory by name of the subject; empty if the plan leaves it out."""
    if not plan.memory:
        return {}
    found = {}
    for spec in specs:
        tell(f"memory of {spec.name}")
        found[spec.name] = in_new_process(measure_memory, spec, threads=plan.threads)
    return found
