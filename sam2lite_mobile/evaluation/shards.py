"""An evaluation in several processes: which sequences each one takes, and one result out of all parts.

A part is a result without a summary: the conditions of the whole evaluation, and the sequences of one process. Whether
the processes ran under torchrun, or on machines that share a folder, joining is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.results import EvaluationResult, condition_differences, summarize


@dataclass(frozen=True)
class Shard:
    """One process of an evaluation: `index`, from 0, of `count`. Raises ContractError for an impossible one."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            raise ContractError(
                explain(
                    "shard",
                    expected=f"0 to {max(self.count, 1) - 1} of {max(self.count, 1)}",
                    got=f"{self.index} of {self.count}",
                    do="name --shards N and --shard I, from 0",
                )
            )

    def path(self, result: Path) -> Path:
        """Where its part goes: the result itself for a single process, else RESULT.shard-I-of-N beside it."""
        return result if self.count == 1 else result.with_name(f"{result.name}.shard-{self.index}-of-{self.count}")

    def all_paths(self, result: Path) -> list[Path]:
        """The parts of all processes, in order."""
        return [Shard(index, self.count).path(result) for index in range(self.count)]


WHOLE = Shard()
"""The only process of an evaluation."""


def share(shard: Shard, frames: Mapping[str, int]) -> tuple[str, ...]:
    """The sequences of a process, in the order of `frames`, which holds the frames of every sequence.

    The longest sequence goes first, each to the process with the fewest frames so far, of equals the first: Graham's
    rule (1969), at most 4/3 of the best possible longest share. The same in every process. Raises ContractError where
    there are more processes than sequences.
    """
    if shard.count > len(frames):
        raise ContractError(
            explain("shards", expected=f"at most {len(frames)} sequences", got=shard.count, do="use fewer processes")
        )
    loads = [0] * shard.count
    mine = set()
    for name in sorted(frames, key=lambda name: -frames[name]):  # sorting is stable: equals keep the order of the split
        least = loads.index(min(loads))
        loads[least] += frames[name]
        if least == shard.index:
            mine.add(name)
    return tuple(name for name in frames if name in mine)


def frames_of(
    layout: DavisLayout, names: Sequence[str], *, max_frames: int | None = None, loop_frames: int | None = None
) -> dict[str, int]:
    """Frames that will be tracked of each sequence. Raises DataError for a broken sequence."""
    return {name: loop_frames or len(layout.frames(name)[:max_frames]) for name in names}


def join(parts: Sequence[EvaluationResult], *, names: Sequence[str]) -> EvaluationResult:
    """One result of the parts of an evaluation. names: of the parts, for messages.

    Raises DataError for no part, parts made under other conditions (another machine among them, as times of two
    machines have no common distribution), a sequence that is missing or there twice.
    """
    if not parts:
        raise DataError(explain("join", expected="parts of an evaluation", got="none", do="name their files"))
    first = parts[0].conditions
    for part, name in zip(parts[1:], names[1:], strict=True):
        if part.conditions != first:
            raise DataError(
                explain(
                    name,
                    expected=f"the conditions of {names[0]}",
                    got=f"other {', '.join(condition_differences(first, part.conditions))}",
                    do="evaluate all parts alike, on machines of one kind",
                )
            )
    found = {sequence.name: sequence for part in parts for sequence in part.sequences}
    times = Counter(sequence.name for part in parts for sequence in part.sequences)
    for problem, wrong in (
        ("is missing", [name for name in first.sequences if name not in found]),
        ("is there twice", [name for name, count in times.items() if count > 1]),
        ("is not of this evaluation", [name for name in found if name not in first.sequences]),
    ):
        if wrong:
            raise DataError(
                explain(
                    f"join {', '.join(names)}",
                    expected="every sequence once",
                    got=f"{wrong[0]} {problem}" + (f", and {len(wrong) - 1} more" if wrong[1:] else ""),
                    do="name the part of every process, each once",
                )
            )
    sequences = [found[name] for name in first.sequences]
    return EvaluationResult(parts[0].schema_version, first, sequences, summarize(sequences))
