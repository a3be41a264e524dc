"""`sam2lite bench`: time a frame of the students beside EdgeTAM's, into a table and a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.cli.engine_options import EngineName, Package, Threads
from sam2lite_mobile.errors import ContractError, GateError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.bench.opening import PackageSpec, StudentSpec

Students = Annotated[str, typer.Option("--students", metavar="A,B", help="Published sizes, for torch.")]
Sizes = Annotated[str, typer.Option("--sizes", metavar="R,R", help="Input sizes in pixels.")]
Rounds = Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Timed frames of every subject.")]
WarmUp = Annotated[int, typer.Option("--warm-up", metavar="N", min=0, help="Rounds before them, thrown away.")]
Peer = Annotated[bool, typer.Option("--peer/--no-peer", help="Run EdgeTAM in the same rounds, if it is installed.")]
Memory = Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory, a process for each subject.")]
Long = Annotated[
    int, typer.Option("--long", metavar="N", min=0, help="Also run N frames of the first subject at its smallest size.")
]
Result = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where the result goes.")]
Check = Annotated[bool, typer.Option("--check", help="Exit status 1 if a limit is missed.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("bench")(bench)


def bench(
    engine: EngineName = "torch",
    students: Students = "nano,tiny",
    package: Package = None,
    sizes: Sizes = "512,256",
    rounds: Rounds = 30,
    warm_up: WarmUp = 2,
    threads: Threads = 1,
    peer: Peer = True,
    memory: Memory = True,
    long: Long = 0,
    result: Result = None,
    check: Check = False,
) -> None:
    """Time a frame of the students, stage by stage, beside EdgeTAM's.

    Every round runs one frame of every subject on the sample clip, with one object and a full memory bank. Ratios are
    taken round by round. Weights are random, as speed does not depend on them; another --engine times a package.

    Times are on the wall clock and, beside it, on the process's own: where they differ the machine was busy. A long
    run shows that neither memory nor time grows: 10000 frames of nano at 256 px take about ten minutes.
    """
    from sam2lite_mobile.cli.bench_table import print_bench
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.bench.results import write_bench
    from sam2lite_mobile.evaluation.bench.run import BenchPlan, run_bench

    if result is not None and not result.resolve().parent.is_dir():
        raise ContractError(explain("--json", expected="a file in an existing folder", got=result, do="create it"))
    subjects = _subjects(engine, students=students, package=package, sizes=_sizes(sizes))
    plan = BenchPlan(
        subjects=subjects,
        peer=peer,
        threads=threads,
        rounds=rounds,
        warm_up=warm_up,
        memory=memory,
        long_frames=long,
        long_subject=min(subjects, key=lambda subject: subject.size),  # the first one of that size
    )
    with frame_progress() as progress:
        task = progress.add_task("loading", total=None)
        finished = run_bench(
            plan,
            on_stage=lambda stage: progress.update(task, description=stage),
            on_frame=lambda name: progress.advance(task),
        )
    if result is not None:
        write_bench(result, finished)
    print_bench(finished)
    missed = [verdict for verdict in finished.verdicts if not verdict.held]
    if check and missed:
        first = missed[0]
        raise GateError(
            explain(first.what, expected=f"at most {first.limit}", got=f"{first.measured:.3f}", do="profile the frame")
        )


def _subjects(
    engine: str, *, students: str, package: Path | None, sizes: tuple[int, ...]
) -> tuple[StudentSpec | PackageSpec, ...]:
    """What --engine, --students and --package ask for, student by student."""
    from sam2lite_mobile.engines import engine_entry
    from sam2lite_mobile.evaluation.bench.opening import PackageSpec, StudentSpec
    from sam2lite_mobile.student.config import PRESETS

    if engine_entry(engine).takes == "package":
        if package is None or not package.is_dir():
            raise ContractError(explain(f"engine {engine}", expected="--package DIR", got=package, do="name a package"))
        return tuple(PackageSpec(engine, package, size) for size in sizes)
    if package is not None:
        raise ContractError(
            explain("--package", expected="an engine on packages", got=f"engine {engine}", do="name it with --engine")
        )
    names = tuple(name.strip() for name in students.split(","))
    if not set(names) <= set(PRESETS) or len(set(names)) != len(names):
        raise ContractError(
            explain("--students", expected=f"of {', '.join(PRESETS)}", got=repr(students), do="name each once")
        )
    return tuple(StudentSpec(name, size) for name in names for size in sizes)


def _sizes(text: str) -> tuple[int, ...]:
    from sam2lite_mobile.contract import SIZES

    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(map(str, SIZES)) or len(set(names)) != len(names):
        raise ContractError(
            explain("--sizes", expected=f"of {', '.join(map(str, SIZES))}", got=repr(text), do="name each once")
        )
    return tuple(map(int, names))
