"""What an ablation found: each run's score, and each variant's mean and spread over the seeds, as JSON and a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sam2lite_mobile.evaluation.conditions import Machine
from sam2lite_mobile.media.atomic_file import replace_file
from sam2lite_mobile.media.json_file import read_json, write_json
from sam2lite_mobile.training.ablation.suites import FULL, Suite

SCHEMA_VERSION = 1
LARGEST_BYTES = 2**20


class RunScore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run: a variant with a seed. Scores in 0..1 on the held-out sequences, after the last step."""

    variant: str
    seed: int
    recipe_hash: str
    clips: int
    seconds: float
    """Of training, as the log has them: not of scoring."""
    j: float
    f: float
    by_sequence: dict[str, float]
    """J of each sequence."""

    @property
    def jf(self) -> float:
        """J&F."""
        return (self.j + self.f) / 2


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All runs of a suite, and where and how they ran."""

    schema_version: int
    suite: str
    package_version: str
    torch_version: str
    threads: int
    machine: Machine
    hold_out: tuple[str, ...]
    size: int
    frames: int
    """At most so many frames of a sequence, evenly spread."""
    runs: tuple[RunScore, ...]


class Row(msgspec.Struct, frozen=True):
    """A variant over its seeds, in points of 100: mean J&F, standard deviation over the seeds (0 for one).

    difference: to the full variant, mean of the differences with the same seed, and their standard deviation; None
    where no seed has both. published: the methodology's difference.
    """

    variant: str
    title: str
    seeds: int
    mean: float
    spread: float
    difference: float | None
    difference_spread: float | None
    published: float | None


def rows(suite: Suite, runs: Sequence[RunScore]) -> list[Row]:
    """A row for each variant that has a run, in the suite's order."""
    score = {(run.variant, run.seed): 100 * run.jf for run in runs}
    found = []
    for variant in suite.variants:
        seeds = sorted(seed for name, seed in score if name == variant.name)
        if not seeds:
            continue
        values = [score[variant.name, seed] for seed in seeds]
        paired = [score[variant.name, s] - score[FULL, s] for s in seeds if (FULL, s) in score]
        compared = variant.name != FULL and bool(paired)
        found.append(
            Row(
                variant.name,
                variant.title,
                len(seeds),
                statistics.fmean(values),
                _spread(values),
                statistics.fmean(paired) if compared else None,
                _spread(paired) if compared else None,
                variant.published,
            )
        )
    return found


def markdown(suite: Suite, outcome: Outcome) -> str:
    """The table as Markdown, with what it was measured on."""
    lines = [
        f"# Ablation: {suite.name}",
        "",
        f"Made by `sam2lite ablate --suite {suite.name}` (recipe `{suite.recipe}`); the figures of every run are in "
        f"`{suite.name}.json`. J&F on {len(outcome.hold_out)} training sequences that no run saw "
        f"({', '.join(outcome.hold_out)}), first-frame mask, {outcome.size} px, at most {outcome.frames} frames of "
        f"each, torch {outcome.torch_version} on {outcome.machine.processor}, {outcome.threads} thread a run. "
        "Spread is the standard deviation over seeds; a difference is the mean over seeds of the variant minus the "
        "full recipe with the same seed. The last column is the difference that the methodology gives (section 7).",
        "",
        "| variant | seeds | J&F | spread | difference | its spread | methodology |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows(suite, outcome.runs):
        lines.append(
            f"| {row.title} | {row.seeds} | {row.mean:.1f} | {row.spread:.1f} | {signed(row.difference)} "
            f"| {'' if row.difference_spread is None else format(row.difference_spread, '.1f')} "
            f"| {signed(row.published)} |"
        )
    clips = ", ".join(str(count) for count in sorted({run.clips for run in outcome.runs}))
    minutes = sum(run.seconds for run in outcome.runs) / 60
    lines += [
        "",
        f"{len(outcome.runs)} runs of {clips} clips, {minutes:.0f} minutes of training in all.",
        "",
    ]
    return "\n".join(lines)


def signed(value: float | None) -> str:
    """A difference with its sign and one decimal; nothing for None."""
    return "" if value is None else f"{value:+.1f}"


def write_outcome(folder: Path, suite: Suite, outcome: Outcome) -> tuple[Path, Path]:
    """SUITE.json and SUITE.md in `folder`, each the old file or the new one. Returns both paths."""
    data, table = folder / f"{suite.name}.json", folder / f"{suite.name}.md"
    write_json(data, outcome)
    replace_file(table, markdown(suite, outcome).encode())
    return data, table


def read_score(path: Path) -> RunScore:
    """The score of a finished run. Raises DataError for a file that breaks the schema."""
    do = "remove the run's folder"
    return read_json(path, RunScore, max_bytes=LARGEST_BYTES, expected="the score of a run", do=do)


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0
