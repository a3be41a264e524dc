"""The torch engine: its tuned graphs are the student's up to rounding, and leave the student as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from sam2lite_mobile import contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.student.student import Student, build_student, example_inputs

SIZE = 256


@pytest.fixture(scope="module")
def student() -> Student:
    return build_student("nano")


@pytest.mark.parametrize("graph", contract.GRAPHS)
def test_tuned_graph_equals_the_plain_one_up_to_rounding(student: Student, graph: str) -> None:
    spec = contract.graph_spec(graph, SIZE)
    inputs = {name: value.numpy() for name, value in example_inputs(graph, SIZE).items()}
    plain = TorchEngine(student, tuned=False).run(spec.id, inputs)
    tuned = TorchEngine(student).run(spec.id, inputs)
    for name, value in plain.items():
        assert tuned[name].flags.c_contiguous
        assert np.abs(tuned[name] - value).max() <= 2e-5 * max(1.0, np.abs(value).max()), name


def test_tuning_leaves_the_student_as_it_was(student: Student) -> None:
    before = {name: (value.clone(), value.stride()) for name, value in student.state_dict().items()}
    TorchEngine(student)
    assert not any(type(module).__name__ == "MkldnnLinear" for module in student.modules())
    assert all(parameter.requires_grad for parameter in student.parameters())
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name][0])
        assert value.stride() == before[name][1], name


def test_plain_engine_runs_the_students_own_modules() -> None:
    student = build_student("nano")
    plain, tuned = TorchEngine(student, tuned=False), TorchEngine(student)
    inputs = {name: value.numpy() for name, value in example_inputs("mask_decoder", SIZE).items()}
    name = contract.graph_id("mask_decoder", SIZE)
    before = tuned.run(name, inputs)["visibility"]
    last = student.mask_decoder.visibility[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias.fill_(100.0)
    assert plain.run(name, inputs)["visibility"] > 50
    assert np.array_equal(tuned.run(name, inputs)["visibility"], before)
