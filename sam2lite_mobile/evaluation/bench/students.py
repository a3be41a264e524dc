"""Students with random weights as subjects: how long a graph takes does not depend on its weights."""

from __future__ import annotations

import torch
from torch import nn

from sam2lite_mobile.contract import BANK_TOKENS
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.subjects import EAGER, TORCH, Variant
from sam2lite_mobile.evaluation.bench.tracker_subject import TrackerSubject
from sam2lite_mobile.student.student import Student, build_student

IN_VIEW = 100.0
"""Bias of the visibility logit, far above what random weights can take away."""


def student_subject(
    student: str, clip: Clip, *, size: int, tuned: bool = True, bank_tokens: int = BANK_TOKENS, objects: int = 1
) -> TrackerSubject:
    """The tracker on a published student with random weights, named `tiny@512`, or `tiny eager@512` if not tuned.

    tuned: run the torch engine's faster copies; else the student's own modules. Raises ValueError for another name.
    """
    model = build_student(student)
    always_in_view(model)
    parameters = sum(model.parameter_counts().values())
    variant = Variant(student, TORCH if tuned else EAGER)
    engine = TorchEngine(model, bank_tokens=bank_tokens, tuned=tuned)
    name = variant.name(size, bank_tokens=bank_tokens, objects=objects)
    return TrackerSubject(name, engine, clip, size=size, parameters=parameters, variant=variant, objects=objects)


def always_in_view(student: Student) -> None:
    """Make a student with random weights see its object on every frame.

    Where no object is seen the memory encoder and the gate do not run, and the frame would count as a fast one.
    """
    last = student.mask_decoder.visibility[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the visibility head ends in {type(last).__name__}, not in a linear layer")
    with torch.no_grad():
        last.bias.fill_(IN_VIEW)
