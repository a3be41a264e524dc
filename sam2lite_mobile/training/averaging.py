"""The mean of several trained students of one configuration: better than each of them where one was trained on from
another, with other data or sizes (Wortsman et al. 2022, "Model soups", arXiv 2203.05482, uniform soup)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sam2lite_mobile.errors import CheckpointError, explain
from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student, read_header
from sam2lite_mobile.student.student import Student

KEPT_FACTS = ("licence", "token_gate")
"""Header entries that an average keeps where all of its parts agree on them."""


def averaged_student(paths: Sequence[Path]) -> tuple[Student, dict[str, str]]:
    """The mean of the checkpoints' weights, computed in float32, and facts for the header of its checkpoint.

    Facts: recipes, the checkpoints' hashes, steps and clips of all parts, in the order given.
    Raises CheckpointError for fewer than two checkpoints, or for students of different configurations.
    """
    if len(paths) < 2:
        raise CheckpointError(explain("average", expected="two checkpoints or more", got=len(paths), do="name another"))
    headers = [read_header(path) for path in paths]
    for (config, _), path in zip(headers[1:], paths[1:], strict=True):
        if config != headers[0][0]:
            raise CheckpointError(
                explain(str(path), expected=str(headers[0][0]), got=str(config), do="average students that are alike")
            )
    students = [load_student(path) for path in paths]
    states = [student.state_dict() for student in students]
    with torch.no_grad():
        for name, value in states[0].items():
            value.copy_(torch.stack([state[name].float() for state in states]).mean(0))
    facts = {
        name: " + ".join(header.get(name, "unknown") for _, header in headers) for name in ("recipe", "steps", "clips")
    }
    facts["averaged"] = " + ".join(checkpoint_hash(path) for path in paths)
    for name in KEPT_FACTS:
        values = {header.get(name) for _, header in headers}
        if len(values) == 1 and (value := values.pop()) is not None:
            facts[name] = value
    return students[0], facts
