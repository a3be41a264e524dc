"""The processes that torchrun started for an evaluation: read from its environment, and met in files, without torch.

They share the folder of the result. The first process waits there for the parts of the others; torchrun ends it where
another one fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.evaluation.conditions import Conditions
from sam2lite_mobile.evaluation.results import EvaluationResult, read_result
from sam2lite_mobile.evaluation.shards import Shard

POLL_SECONDS = 0.5
NEEDED = ("RANK", "WORLD_SIZE")


def launched_shard(environment: Mapping[str, str] = os.environ) -> Shard | None:
    """This process among those that torchrun started (RANK of WORLD_SIZE); None where it did not start several.

    Raises ContractError for variables that are no numbers, or not both there.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return None
    for name in NEEDED:
        value = environment.get(name, "")
        if not (value.isascii() and value.isdigit()):
            raise ContractError(
                explain(
                    f"environment variable {name}",
                    expected=f"{' and '.join(NEEDED)} as torchrun sets them",
                    got=repr(value) if value else "none",
                    do="start with torchrun, or unset WORLD_SIZE and use --shards and --shard",
                )
            )
    return Shard(int(environment["RANK"]), int(environment["WORLD_SIZE"]))


def processes_here(environment: Mapping[str, str] = os.environ) -> int:
    """Processes of this evaluation on this machine, as torchrun says; 1 without it."""
    value = environment.get("LOCAL_WORLD_SIZE", "1")
    return int(value) if value.isascii() and value.isdigit() else 1


def wait_for_parts(
    paths: Sequence[Path], conditions: Conditions, *, sleep: Callable[[float], None] = time.sleep
) -> list[EvaluationResult]:
    """The parts of all processes, as soon as the last one is written.

    A part of other conditions is one that an earlier run left: its process will replace it. One of the same conditions
    has the same scores, whichever run wrote it.
    """
    found: dict[Path, EvaluationResult] = {}
    while True:
        for path in paths:
            if path not in found and (part := _part(path)) is not None and part.conditions == conditions:
                found[path] = part
        if len(found) == len(paths):
            return [found[path] for path in paths]
        sleep(POLL_SECONDS)


def _part(path: Path) -> EvaluationResult | None:
    """A part that is there; None for none, and for a file of another version, which its process will replace."""
    try:
        return read_result(path) if path.is_file() else None
    except DataError:
        return None
