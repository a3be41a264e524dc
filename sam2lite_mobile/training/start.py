"""Starting a run from a trained student, also from a shallower one of the same width."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from sam2lite_mobile.engines.torch_engine import default_checkpoint
from sam2lite_mobile.errors import CheckpointError, explain
from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.optimization import GATE_PREFIX

SHIPPED_NAME = re.compile(r"\w+")
"""What is taken as the name of shipped weights; anything else is the path of a file."""
BLOCK = re.compile(r"(image_encoder\.blocks\.)(\d+)(\..*)")


def start_from(student: Student, name_or_file: str, *, fresh_gate: bool = False) -> dict[str, str]:
    """Give a student the weights of a trained one, and return where they came from, for the header of checkpoints.

    name_or_file: the name of shipped weights (`nano`, `tiny`), or a checkpoint. The trained one may have fewer
    transformer blocks: they become the first ones, and the blocks after them keep their start, near identity, so that
    the deeper student begins as good as the trained one. fresh_gate: the token gate stays as it is.
    Raises CheckpointError where the graphs differ otherwise.
    """
    path = default_checkpoint(name_or_file) if SHIPPED_NAME.fullmatch(name_or_file) else Path(name_or_file)
    trained = load_student(path).state_dict()
    own = student.state_dict()
    added = [name for name in own if name not in trained]
    differing = [name for name, value in trained.items() if name not in own or own[name].shape != value.shape]
    foreign = [name for name in added if BLOCK.fullmatch(name) is None]
    if differing or foreign:
        raise CheckpointError(
            explain(
                f"start from {path.name}",
                expected=f"a student that {student.config.name} extends by transformer blocks alone",
                got=f"other shapes or entries: {', '.join((differing + foreign)[:3])}",
                do="start from a student of the same width and decoder",
            )
        )
    with torch.no_grad():
        for name, value in trained.items():
            if fresh_gate and name.startswith(GATE_PREFIX):
                continue
            own[name].copy_(value)
    return {"start_checkpoint": checkpoint_hash(path)}
