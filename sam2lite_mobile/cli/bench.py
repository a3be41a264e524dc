"""`sam2lite bench`: time students and packages frame by frame beside EdgeTAM, into tables, a JSON file and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam2lite_mobile.cli.engine_options import Threads
from sam2lite_mobile.errors import ContractError, GateError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.bench.opening import Package, PackageSpec, StudentSpec

DEFAULT_STUDENTS = "nano,tiny"
DEFAULT_SIZES = "512,256"

Students = Annotated[
    str | None,
    typer.Option(
        "--students",
        metavar="A,B",
        help=f"Published students on our torch engine; {DEFAULT_STUDENTS} if left out and nothing else is named.",
    ),
]
Eager = Annotated[
    str | None, typer.Option("--eager", metavar="A,B", help="Published students in PyTorch as they are, untuned.")
]
Packages = Annotated[
    list[Path] | None,
    typer.Option("--package", metavar="DIR", help="Package folder; repeat for several. It says what runs it."),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        "--sizes",
        metavar="R,R",
        help=f"Input sizes in pixels; {DEFAULT_SIZES} if left out, of which a package runs those that it has.",
    ),
]
Rounds = Annotated[int, typer.Option("--rounds", metavar="N", min=1, help="Timed frames of every subject.")]
WarmUp = Annotated[int, typer.Option("--warm-up", metavar="N", min=0, help="Rounds before them, thrown away.")]
Peer = Annotated[bool, typer.Option("--peer/--no-peer", help="Run EdgeTAM in the same rounds, if it is installed.")]
Memory = Annotated[bool, typer.Option("--memory/--no-memory", help="Measure peak memory, a process for each subject.")]
Sweep = Annotated[
    bool, typer.Option("--sweep", help="Also time Nano and the packages over sizes, bank tokens and objects.")
]
Long = Annotated[
    int, typer.Option("--long", metavar="N", min=0, help="Also run N frames of the first subject at its smallest size.")
]
Result = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where the result goes.")]
Report = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE", help="Markdown page of the tables; plots of a sweep go beside it."),
]
Check = Annotated[bool, typer.Option("--check", help="Exit status 1 if a limit is missed.")]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("bench")(bench)


def bench(
    students: Students = None,
    eager: Eager = None,
    package: Packages = None,
    sizes: Sizes = None,
    rounds: Rounds = 30,
    warm_up: WarmUp = 2,
    threads: Threads = 1,
    peer: Peer = True,
    memory: Memory = True,
    sweep: Sweep = False,
    long: Long = 0,
    result: Result = None,
    report: Report = None,
    check: Check = False,
) -> None:
    """Time a frame of students and packages, stage by stage, beside EdgeTAM's.

    Every round runs one frame of every subject on the sample clip, with one object and a full memory bank. Ratios are
    taken round by round. Students on torch have random weights, as speed does not depend on them.

    Times are on the wall clock and, beside it, on the process's own: where they differ the machine was busy. A long
    run shows that neither memory nor time grows: 10000 frames of nano at 256 px take about ten minutes.
    """
    from sam2lite_mobile.cli.bench_packages import open_package
    from sam2lite_mobile.cli.bench_table import print_bench
    from sam2lite_mobile.cli.progress import frame_progress
    from sam2lite_mobile.evaluation.bench.report import write_report
    from sam2lite_mobile.evaluation.bench.results import write_bench
    from sam2lite_mobile.evaluation.bench.run import BenchPlan, run_bench
    from sam2lite_mobile.evaluation.bench.sweep_plot import check_plotting

    for option, path in (("--json", result), ("--report", report)):
        if path is not None and not path.resolve().parent.is_dir():
            raise ContractError(explain(option, expected="a file in an existing folder", got=path, do="create it"))
    if sweep and report is not None:
        check_plotting()  # now, not after ten minutes of measuring
    packages = tuple(open_package(folder) for folder in package or ())
    subjects = _subjects(students, eager=eager, packages=packages, sizes=sizes)
    plan = BenchPlan(
        subjects=subjects,
        peer=peer,
        threads=threads,
        rounds=rounds,
        warm_up=warm_up,
        memory=memory,
        sweep=sweep,
        sweep_packages=packages,
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
    if report is not None:
        write_report(report, finished)
    print_bench(finished)
    missed = [verdict for verdict in finished.verdicts if not verdict.held]
    if check and missed:
        first = missed[0]
        raise GateError(
            explain(first.what, expected=f"at most {first.limit}", got=f"{first.measured:.3f}", do="profile the frame")
        )


def _subjects(
    students: str | None, *, eager: str | None, packages: tuple[Package, ...], sizes: str | None
) -> tuple[StudentSpec | PackageSpec, ...]:
    """What the options ask for: students on torch, eager students, packages; each by size."""
    from sam2lite_mobile.cli.bench_packages import chosen_sizes
    from sam2lite_mobile.evaluation.bench.opening import PackageSpec

    if students is None and eager is None and not packages:
        students = DEFAULT_STUDENTS
    wanted = _sizes(sizes or DEFAULT_SIZES)
    found: list[StudentSpec | PackageSpec] = []
    found += _students("--students", students, wanted, tuned=True)
    found += _students("--eager", eager, wanted, tuned=False)
    for each in packages:
        found += [PackageSpec(each, size) for size in chosen_sizes(each, wanted, all_needed=sizes is not None)]
    return tuple(found)


def _students(option: str, text: str | None, sizes: tuple[int, ...], *, tuned: bool) -> list[StudentSpec]:
    from sam2lite_mobile.evaluation.bench.opening import StudentSpec
    from sam2lite_mobile.student.config import PRESETS

    if text is None:
        return []
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(PRESETS) or len(set(names)) != len(names):
        raise ContractError(explain(option, expected=f"of {', '.join(PRESETS)}", got=repr(text), do="name each once"))
    return [StudentSpec(name, size, tuned=tuned) for name in names for size in sizes]


def _sizes(text: str) -> tuple[int, ...]:
    from sam2lite_mobile.contract import SIZES

    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(map(str, SIZES)) or len(set(names)) != len(names):
        raise ContractError(
            explain("--sizes", expected=f"of {', '.join(map(str, SIZES))}", got=repr(text), do="name each once")
        )
    return tuple(map(int, names))
