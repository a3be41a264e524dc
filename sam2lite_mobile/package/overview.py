"""Several packages side by side, by their manifests: size, decibels, masks and J&F, as their gates measured them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from textwrap import fill

from sam2lite_mobile.contract import GRAPHS
from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.evaluation.bench.report import markdown_table
from sam2lite_mobile.evaluation.bench.tables import TextTable
from sam2lite_mobile.package.codec import read_manifest
from sam2lite_mobile.package.manifest import (
    EXACT_MATCH_DB,
    JF_LOST,
    MANIFEST_NAME,
    MEDIAN_MASK_IOU,
    SNR_DB,
    WORST_MASK_IOU,
    GateResult,
    Manifest,
)
from sam2lite_mobile.package.verify import verify_package

SEQUENCE = re.compile(r"(?P<name>[^,]+), \d+ tracked of \d+ frames")
"""How the gate of a whole sequence names its clip (`converters/accuracy.py`), and no clip of a few frames does."""
INTRODUCTION = (
    "Written by `sam2lite packages`, not by hand: read from the manifests of packages that verify. Each file was "
    "executed when it was built, unless its name says that it was not. Worst and median frame: mask IoU with PyTorch "
    "in float32, each with its own memory, on short clips at every size, and on whole sequences at the largest in the "
    "frames that PyTorch tracks (its J is above 0.5). J&F lost is in points of 100."
)
LINE = 118
"""Characters of a line of the page's text."""
NONE, NOT_RUN = "-", " (not executed)"


@dataclass(frozen=True)
class PackageFigures:
    """What the gates of one package measured; its limits are in its manifest.

    name: student, runtime and recipe. megabytes: of all its files, 10^6 bytes. decibels: by graph, the least of its
    outputs and sizes against PyTorch in float32, in the precision that ships. short_clips: worst frame's mask IoU of
    each clip of a few frames. sequences: worst tracked frame's by sequence. median_iou: of all their tracked frames.
    lost: points of J&F.
    """

    name: str
    sizes: tuple[int, ...]
    megabytes: float
    decibels: dict[str, float]
    short_clips: tuple[float, ...]
    sequences: dict[str, float]
    median_iou: float | None
    lost: float | None


def package_figures(folder: Path) -> PackageFigures:
    """The figures of a package that verifies.

    Raises PackageError for one that does not, DataError where there is no such folder.
    """
    report = verify_package(folder)
    if not report.passed:
        failure, do = report.failures[0], f"sam2lite verify {folder}"
        raise PackageError(explain(f"{folder} {failure.what}", expected=failure.expected, got=failure.got, do=do))
    return figures_of(read_manifest(folder / MANIFEST_NAME))


def figures_of(manifest: Manifest) -> PackageFigures:
    """The figures that a manifest holds."""
    shipped = [gate for gate in manifest.gates if gate.precision == manifest.precision.recipe]
    clips = [gate for gate in shipped if gate.kind == "clip" and gate.clip is not None]
    worst = [gate for gate in clips if gate.measure == WORST_MASK_IOU]
    whole = {found["name"]: gate for gate in worst if (found := SEQUENCE.match(gate.clip or ""))}
    over_all = [g for g in clips if g.measure == MEDIAN_MASK_IOU and " sequences, " in (g.clip or "")]
    name = f"{manifest.student_size}, {manifest.runtime} {manifest.precision.recipe}"
    return PackageFigures(
        name=name if manifest.executed else f"{name}{NOT_RUN}",
        sizes=manifest.sizes,
        megabytes=_bytes(manifest) / 1e6,
        decibels={graph: _least(manifest, graph) for graph in GRAPHS},
        short_clips=tuple(gate.measured for gate in worst if gate not in whole.values()),
        sequences={name: gate.measured for name, gate in whole.items()},
        median_iou=median(gate.measured for gate in over_all) if over_all else None,
        lost=next((gate.measured for gate in clips if gate.measure == JF_LOST), None),
    )


def overview_tables(packages: Sequence[PackageFigures]) -> list[TextTable]:
    """One row a package: what it weighs and how far it is from PyTorch; then the worst frame of each sequence."""
    tables = [
        TextTable(
            "Masks and size",
            ("package", "px", "MB", "worst, short clips", "worst, sequences", "median", "J&F lost"),
            tuple(_masks_row(each) for each in packages),
            names=2,
        ),
        TextTable(
            "Decibels against PyTorch in float32, least of outputs and sizes",
            ("package", *(graph.replace("_", " ") for graph in GRAPHS)),
            tuple((each.name, *(_db(each.decibels[graph]) for graph in GRAPHS)) for each in packages),
        ),
    ]
    names = sorted({name for each in packages for name in each.sequences})
    if names:
        rows = tuple((each.name, *(_iou(each.sequences.get(name)) for name in names)) for each in packages)
        tables.append(TextTable("Worst tracked frame by sequence", ("package", *names), rows))
    return tables


def overview_page(packages: Sequence[PackageFigures]) -> str:
    """The tables as a page of Markdown."""
    lines = [
        "# Packages",
        "",
        fill(INTRODUCTION, LINE),
        "",
    ]
    for table in overview_tables(packages):
        lines += [f"## {table.title}", "", *markdown_table(table), ""]
    return "\n".join(lines)


def _masks_row(each: PackageFigures) -> tuple[str, ...]:
    return (
        each.name,
        _sizes(each.sizes),
        f"{each.megabytes:.1f}",
        _range(each.short_clips),
        _range(each.sequences.values()),
        _iou(each.median_iou),
        NONE if each.lost is None else f"{each.lost:+.2f}",
    )


def _sizes(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]}-{sizes[-1]} ({len(sizes)})"


def _bytes(manifest: Manifest) -> int:
    """Bytes of all files of the package but the manifest and its copies, each once: graphs and sizes may share one."""
    files = {entry.path: entry.bytes for entry in manifest.files}
    for graph in manifest.graphs:
        files.update({f"{graph.path}/{entry.path}": entry.bytes for entry in graph.files} or {graph.path: graph.bytes})
    return sum(files.values())


def _least(manifest: Manifest, graph: str) -> float:
    """The least SNR of a graph over outputs and sizes in the precision that ships, in dB."""
    found: dict[str, list[GateResult]] = {}
    for gate in manifest.gates:
        if gate.measure == SNR_DB and gate.graph is not None and re.fullmatch(rf"{graph}(_\d+)?", gate.graph):
            found.setdefault(gate.precision, []).append(gate)
    # A graph that an int8 recipe leaves in float is gated in the precision that it has.
    lower = {name: gates for name, gates in found.items() if name != "fp32"} or found
    return min((gate.measured for gates in lower.values() for gate in gates), default=EXACT_MATCH_DB)


def _db(value: float) -> str:
    return "exact" if value >= EXACT_MATCH_DB else f"{value:.1f}"


def _iou(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _range(values: Iterable[float]) -> str:
    found = sorted(values)
    if not found:
        return NONE
    return _iou(found[0]) if len(found) == 1 else f"{_iou(found[0])} to {_iou(found[-1])}"
