"""The state of a run on disk: what comes back, and which files are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sam2lite_mobile.errors import CheckpointError
from sam2lite_mobile.training.run import STATE_NAME, Run
from tests.training.short_runs import STEPS, assert_same_entries, read_entries, short_recipe

Entries = dict[str, torch.Tensor]


@pytest.fixture
def folder(uninterrupted: Path, tmp_path: Path) -> Path:
    """A folder with a state of its own."""
    shutil.copy(uninterrupted / STATE_NAME, tmp_path / STATE_NAME)
    return tmp_path


def weights_of(run: Run) -> Entries:
    return {name: value.clone() for name, value in run.student.state_dict().items()}


def test_state_that_was_read_is_written_again_as_it_was(folder: Path, uninterrupted: Path) -> None:
    run = Run(short_recipe(), folder)
    assert run.resume()
    assert run.step == STEPS
    (folder / STATE_NAME).unlink()  # the moments are copies: the file may go
    run.save()
    assert_same_entries(folder / STATE_NAME, uninterrupted / STATE_NAME)


def test_folder_without_a_state_begins_at_step_0(tmp_path: Path) -> None:
    run = Run(short_recipe(), tmp_path)
    assert not run.resume()
    assert run.step == 0


def test_state_of_another_recipe_is_refused_and_nothing_is_restored(folder: Path) -> None:
    run = Run(short_recipe(learning_rate=2e-3), folder)
    before = weights_of(run)
    with pytest.raises(CheckpointError, match="the recipe that the run began with, got another recipe"):
        run.resume()
    assert all(torch.equal(value, before[name]) for name, value in run.student.state_dict().items())
    assert run.step == 0


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def edit(change: Callable[[Entries, dict[str, str]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        tensors, facts = read_entries(path)
        tensors = {name: value.clone() for name, value in tensors.items()}
        change(tensors, facts)
        save_file(tensors, path, facts)

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "expected the state of a run"),
        (edit(lambda tensors, facts: facts.update(format="else")), "expected the state of a run"),
        (edit(lambda tensors, facts: facts.update(step="-3")), "expected the state of a run"),
        (edit(lambda tensors, facts: tensors.pop("average.token_gate.score.bias")), "missing entry average.token_gate"),
        (edit(lambda tensors, facts: tensors.pop("exp_avg_sq.mask_decoder.score.bias")), "missing entry exp_avg_sq"),
        (edit(lambda tensors, facts: tensors.update(more=torch.zeros(1))), "unknown entry more"),
        (
            edit(lambda tensors, facts: tensors.update({"student.token_gate.score.bias": torch.zeros(2)})),
            r"student.token_gate.score.bias is \(2,\) torch.float32",
        ),
    ],
    ids=["cut", "format", "step", "weight", "moment", "unknown", "shape"],
)
def test_broken_states_are_refused_and_nothing_is_restored(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder / STATE_NAME)
    run = Run(short_recipe(), folder)
    before = weights_of(run)
    with pytest.raises(CheckpointError, match=message):
        run.resume()
    assert all(torch.equal(value, before[name]) for name, value in run.student.state_dict().items())
