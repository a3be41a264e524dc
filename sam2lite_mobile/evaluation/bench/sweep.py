"""What a frame costs against the size of the input, the tokens of the bank and the number of objects.

All points of all axes are subjects of the same rounds, and one that lies on several axes is run once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sam2lite_mobile.contract import BANK_TOKENS, BANK_TOKENS_MAX, BANK_TOKENS_MIN, FULL_SIZE, SIZES
from sam2lite_mobile.evaluation.bench.opening import Package, PackageSpec, StudentSpec
from sam2lite_mobile.evaluation.bench.results import Sweep, SweepPoint
from sam2lite_mobile.evaluation.bench.rounds import part_times
from sam2lite_mobile.evaluation.bench.subjects import TOTAL, FrameTimes, Variant
from sam2lite_mobile.evaluation.latency import percentiles

SWEEP_STUDENT = "nano"
TOKENS = (BANK_TOKENS_MIN, 256, BANK_TOKENS, BANK_TOKENS_MAX)
OBJECTS = (1, 2, 3, 4)
SIZE_AXIS, TOKENS_AXIS, OBJECTS_AXIS = "size", "tokens", "objects"

Spec = StudentSpec | PackageSpec


@dataclass(frozen=True)
class AxisPoint:
    """A subject on an axis: its line, its place on the axis, and how it is made."""

    axis: str
    line: str
    value: int
    spec: Spec


FIXED = {
    SIZE_AXIS: f"{BANK_TOKENS} tokens, one object",
    TOKENS_AXIS: f"{FULL_SIZE} px, one object",
    OBJECTS_AXIS: f"{BANK_TOKENS} tokens; the clip's object under several ids, each with a bank of its own",
}
"""What stays as it is along an axis."""


def sweep_points(packages: Sequence[Package]) -> list[AxisPoint]:
    """All points: Nano on torch along every axis, packages at the sizes that they have and with several objects.

    A package has one budget of tokens. Its objects are counted at the largest of its sizes.
    """
    points = []
    torch_line = f"{SWEEP_STUDENT} torch fp32"
    for size in SIZES:
        points.append(AxisPoint(SIZE_AXIS, torch_line, size, StudentSpec(SWEEP_STUDENT, size)))
    for tokens in TOKENS:
        spec = StudentSpec(SWEEP_STUDENT, FULL_SIZE, bank_tokens=tokens)
        points.append(AxisPoint(TOKENS_AXIS, torch_line, tokens, spec))
    for objects in OBJECTS:
        spec = StudentSpec(SWEEP_STUDENT, FULL_SIZE, objects=objects)
        points.append(AxisPoint(OBJECTS_AXIS, f"{torch_line}, {FULL_SIZE} px", objects, spec))
    for package in packages:
        line = _line(package.variant)
        for size in package.sizes:
            points.append(AxisPoint(SIZE_AXIS, line, size, PackageSpec(package, size)))
        for objects in OBJECTS:
            largest = package.sizes[-1]
            spec_of_package = PackageSpec(package, largest, objects=objects)
            points.append(AxisPoint(OBJECTS_AXIS, f"{line}, {largest} px", objects, spec_of_package))
    return points


def _line(variant: Variant) -> str:
    return f"{variant.student} {variant.runtime} {variant.recipe}"


def sweep_specs(points: Sequence[AxisPoint]) -> list[Spec]:
    """The subjects of all points, each once."""
    return list(dict.fromkeys(point.spec for point in points))


def sweeps(points: Sequence[AxisPoint], frames: Mapping[str, Sequence[FrameTimes]]) -> list[Sweep]:
    """The axes with what their points' subjects, by name, were measured to cost."""
    found = []
    for axis, fixed in FIXED.items():
        here = [point for point in points if point.axis == axis]
        found.append(Sweep(axis, fixed, [_measured(point, frames[point.spec.name]) for point in here]))
    return found


def _measured(point: AxisPoint, frames: Sequence[FrameTimes]) -> SweepPoint:
    parts = part_times(frames)
    wall = {name: percentiles([each.wall_ms for each in times]) for name, times in parts.items()}
    return SweepPoint(
        line=point.line,
        value=point.value,
        wall_ms=wall[TOTAL],
        cpu_ms=percentiles([each.cpu_ms for each in parts[TOTAL]]),
        parts_ms={name: times.p50 for name, times in wall.items() if name != TOTAL},
    )
