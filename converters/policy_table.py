"""The policy beside what each target makes of it: a table in Markdown, read back from files that are written for it."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from converters.calibration import needs_calibration, read_calibration
from converters.operations import LINES, MOVES, Operations, by_line
from converters.options import Reporter
from converters.registry import open_target
from converters.target import GraphPrecision
from sam2lite_mobile import contract
from sam2lite_mobile.errors import MissingBackendError
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.quantization.policy import Policy, graph_precision, policy_table, precision_policy
from sam2lite_mobile.student.checkpoint import load_student, read_header
from sam2lite_mobile.student.student import Student

Lines = Mapping[str, Counter[str]]

HEADER = """# What each target makes of the policy

Written by `python -m converters policy-table`, not by hand: the graphs of the {student} student at {size} px are
converted for every target, and their operations are read back from the files. Numbers count operations of all five
graphs; `int8` is integers in and out, float in front of a comma is what is computed with, behind it what weights are
stored in.
"""


def write_policy_table(
    out: Path, checkpoint: Path, *, targets: Sequence[str], recipes: Sequence[str], size: int, reporter: Reporter
) -> None:
    """Write the table. A target that lacks a recipe says so; one that has none of them, or no tools, has no column.

    Raises ConversionError where a graph does not convert, DataError where a recipe needs a calibration that is missing.
    """
    targets = [name for name in targets if _offers_any(name, recipes)]
    student = load_student(checkpoint)
    text = [HEADER.format(student=read_header(checkpoint)[0].name.capitalize(), size=size)]
    for recipe in recipes:
        columns: dict[str, Lines | None] = {}
        for name in targets:
            reporter.stage(f"converting {recipe} for {name}")
            try:
                columns[name] = target_lines(name, student, checkpoint, recipe=recipe, size=size)
            except MissingBackendError as error:
                reporter.note(str(error))
        text.append(recipe_section(precision_policy(recipe), student, columns))
    write_file(out, "\n".join(text).encode())


def _offers_any(name: str, recipes: Sequence[str]) -> bool:
    """Whether a target has one of these recipes; one without its tools is named later."""
    try:
        return bool(set(open_target(name).recipes) & set(recipes))
    except MissingBackendError:
        return True


def target_lines(name: str, student: Student, checkpoint: Path, *, recipe: str, size: int) -> Lines | None:
    """Operations of a target's files by line of the policy and form; None where the target lacks the recipe."""
    target = open_target(name)
    if recipe not in target.recipes:
        return None
    ranges = read_calibration(checkpoint).ranges() if needs_calibration(recipe) else None
    found = Operations()
    with tempfile.TemporaryDirectory() as folder:
        for spec in contract.all_graph_specs((size,)):
            shipped = graph_precision(precision_policy(recipe), student, spec.graph)
            precision = GraphPrecision(shipped, precision_policy(shipped), ranges)
            path = Path(folder) / f"{spec.id}{target.suffix}"
            captured = target.capture(student, spec, bank_tokens=contract.BANK_TOKENS)
            target.convert(captured, path, precision=precision, student_size=student.config.name)
            found += target.operations(path)
    return by_line(found)


def recipe_section(policy: Policy, student: Student, columns: Mapping[str, Lines | None]) -> str:
    """One recipe: its exceptions with their reasons, then lines by targets."""
    rows = policy_table(student, policy)
    kept = [row for row in rows if row.decision.exception]
    share = sum(row.weights for row in kept) / sum(row.weights for row in rows)
    text = [f"## {policy.recipe}", ""]
    text += [
        f"{len(rows) - len(kept)} of {len(rows)} layers, {100 * (1 - share):.0f} % of the weights. Exceptions:",
        "",
    ]
    reasons: dict[tuple[str, str], int] = {}
    for row in kept:
        key = (row.decision.precision, row.decision.reason)
        reasons[key] = reasons.get(key, 0) + 1
    text += [f"- {count} in {precision}: {reason}" for (precision, reason), count in reasons.items()]
    names = list(columns)
    text += ["", f"| line of the policy | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for line in (*[line for line, _ in LINES], MOVES):
        text.append(f"| {line} | {' | '.join(_cell(columns[name], line) for name in names)} |")
    return "\n".join([*text, ""])


def _cell(lines: Lines | None, line: str) -> str:
    if lines is None:
        return "recipe not offered"
    return _counts(lines.get(line, Counter()).items()) or "none"


def _counts(forms: Iterable[tuple[str, int]]) -> str:
    """`42 int8, 7 float16`, the most frequent first."""
    return "; ".join(f"{count} {form}" for form, count in sorted(forms, key=lambda item: (-item[1], item[0])))
