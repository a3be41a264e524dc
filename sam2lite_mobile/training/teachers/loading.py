"""Teachers by name, as recipes and the command line give them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from sam2lite_mobile.engines.torch_engine import default_checkpoint
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.student.config import PRESETS
from sam2lite_mobile.training.teachers.own import OwnTeacher
from sam2lite_mobile.training.teachers.teacher import Teacher

SEPARATOR = ":"
GRAMMAR = (
    f"own:NAME ({', '.join(PRESETS)}), own:FILE.safetensors, sam2:FOLDER_OR_HUB_NAME or edgetam:FOLDER_OR_HUB_NAME"
)


def open_teacher(spec: str, *, device: torch.device | str) -> Teacher:
    """The frozen teacher that `spec` names, on `device`.

    own:NAME is a published size with its shipped weights, own:FILE a checkpoint of ours; sam2: and edgetam: name a
    folder with a `transformers` model, or one on the Hugging Face Hub. Raises ContractError for another spec,
    DataError for a model that is missing or broken, MissingBackendError without the packages that it needs.
    """
    kind, separator, source = spec.partition(SEPARATOR)
    if not separator or not source or kind not in KINDS:
        raise ContractError(explain("teacher", expected=GRAMMAR, got=repr(spec), do="name one of these"))
    return KINDS[kind](source, torch.device(device))


def _own(source: str, device: torch.device) -> Teacher:
    path = default_checkpoint(source) if source in PRESETS else Path(source)
    return OwnTeacher.from_checkpoint(path, device=device)


def _sam2(source: str, device: torch.device) -> Teacher:
    from sam2lite_mobile.training.teachers.sam2_video import open_sam2_video

    return open_sam2_video(source, device=device)


def _edgetam(source: str, device: torch.device) -> Teacher:
    from sam2lite_mobile.training.teachers.edgetam_video import open_edgetam_video

    return open_edgetam_video(source, device=device)


KINDS: dict[str, Callable[[str, torch.device], Teacher]] = {"own": _own, "sam2": _sam2, "edgetam": _edgetam}
"""What each kind of teacher is opened by."""
