"""Starting from a trained student: the same one, a deeper one, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sam2lite_mobile.errors import CheckpointError
from sam2lite_mobile.student.checkpoint import checkpoint_hash, save_student
from sam2lite_mobile.student.student import Student, build_student, example_inputs
from sam2lite_mobile.training.run import Run
from sam2lite_mobile.training.start import start_from
from tests.training.short_runs import SMALL, read_entries, short_recipe, small_student

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    path = tmp_path / "trained.safetensors"
    save_student(small_student(seed=1), path)
    return path


def test_deeper_student_begins_as_good_as_the_trained_one(trained: Path) -> None:
    reference, deeper = small_student(seed=1), Student(replace(SMALL, blocks=4)).train()
    assert start_from(deeper, str(trained)) == {"start_checkpoint": checkpoint_hash(trained)}
    for name, value in deeper.state_dict().items():
        if name in reference.state_dict():
            assert torch.equal(value, reference.state_dict()[name].half().float()), name
    inputs = example_inputs("image_encoder", 256)
    with torch.no_grad():
        features = [student.image_encoder(**inputs)[0] for student in (reference, deeper)]
    error = (features[0] - features[1]).square().mean() / features[0].square().mean()
    assert error < 1e-5  # float16 weights, and three blocks near identity


@pytest.mark.parametrize("change", [{"width": 32}, {"decoder_layers": 2}, {"decoder_hidden": 64}])
def test_student_that_differs_otherwise_is_refused_and_left_alone(trained: Path, change: dict[str, int]) -> None:
    student = Student(replace(SMALL, **change)).train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with pytest.raises(CheckpointError, match="extends by transformer blocks alone, got other shapes or entries: "):
        start_from(student, str(trained))
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_shallower_student_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.safetensors"
    save_student(Student(replace(SMALL, blocks=2)), path)
    with pytest.raises(CheckpointError, match=r"image_encoder\.blocks\.1\."):
        start_from(small_student(), str(path))


def test_run_starts_there_and_its_checkpoints_say_so(tmp_path: Path) -> None:
    path = tmp_path / "nano.safetensors"
    save_student(build_student("nano", seed=5), path)
    run = Run(short_recipe(start_from=str(path)), tmp_path)
    queries = build_student("nano", seed=5).mask_decoder.queries.half().float()
    assert torch.equal(run.student.mask_decoder.queries, queries)
    assert torch.equal(run.average.mask_decoder.queries, queries)
    run.save()
    assert read_entries(tmp_path / "student.safetensors")[1]["start_checkpoint"] == checkpoint_hash(path)


def test_fresh_gate_keeps_its_own_start_beside_the_trained_rest(trained: Path) -> None:
    student = small_student(seed=2)
    own = {name: value.clone() for name, value in student.state_dict().items()}
    start_from(student, str(trained), fresh_gate=True)
    reference = small_student(seed=1).state_dict()
    for name, value in student.state_dict().items():
        expected = own[name] if name.startswith("token_gate.") else reference[name].half().float()
        assert torch.equal(value, expected), name
