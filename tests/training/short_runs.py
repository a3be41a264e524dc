"""Recipes and batches of a few small clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open

from sam2lite_mobile import contract
from sam2lite_mobile.student.config import StudentConfig
from sam2lite_mobile.student.student import Student
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.recipe import Phase, Recipe

SMALL = StudentConfig("small", width=16, blocks=1, heads=2, decoder_layers=1, decoder_heads=4, decoder_hidden=32)
STEPS = 4


def short_recipe(**changes: Any) -> Recipe:
    """Four steps of one clip of two frames, with a stem that needs no download; two phases, so that one ends inside."""
    phases = (Phase(clips=3, frames=2), Phase(clips=1, frames=2, video_share=1.0))
    recipe = Recipe("short", "nano", phases, batch_clips=1, warmup_steps=2, stem="random", hold_out=())
    return msgspec.structs.replace(recipe, **changes)


def small_student(seed: int = 0) -> Student:
    """A student of the smallest shapes that the contract allows, in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Student(SMALL).train()


def moving_square(*, clips: int = 1, frames: int = 3, hidden: tuple[int, ...] = (), seed: int = 0) -> ClipBatch:
    """Clips of 256 px: a bright square that goes right over noise; not shown and not in the mask in frames `hidden`.

    Prompts: a box around the square in frame 0, a click in its middle in frame 1, which is the corrected frame.
    """
    size = contract.SIZES[0]
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 90, (clips, frames, size, size, 3), generator=generator, dtype=torch.uint8)
    masks = torch.zeros(clips, frames, size, size, dtype=torch.uint8)
    for t in set(range(frames)) - set(hidden):
        pixels[:, t, 80:160, 60 + 20 * t : 140 + 20 * t] += 150
        masks[:, t, 80:160, 60 + 20 * t : 140 + 20 * t] = 255
    points = torch.zeros(clips, 2, contract.PROMPT_SLOTS, 2)
    labels = torch.full((clips, 2, contract.PROMPT_SLOTS), float(contract.LABEL_EMPTY))
    points[:, 0, :2] = torch.tensor([[60.0, 80.0], [140.0, 160.0]]) / size
    labels[:, 0, 0], labels[:, 0, 1] = contract.LABEL_BOX_TOP_LEFT, contract.LABEL_BOX_BOTTOM_RIGHT
    points[:, 1, 0] = torch.tensor([120.0, 120.0]) / size
    labels[:, 1, 0] = contract.LABEL_FOREGROUND
    return ClipBatch(pixels, masks, points, labels, corrected_frame=1)


def read_entries(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and header facts of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def assert_same_entries(first: Path, second: Path) -> None:
    """Both files hold the same names, facts and bits."""
    (tensors, facts), (others, other_facts) = read_entries(first), read_entries(second)
    assert facts == other_facts
    assert tensors.keys() == others.keys()
    differing = [name for name, value in tensors.items() if not torch.equal(value, others[name])]
    assert differing == []
