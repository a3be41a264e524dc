"""`sam2lite teach` from the arguments to the folder of answers, and wrong calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sam2lite_mobile.student.checkpoint import save_student
from tests.cli.conftest import Call
from tests.training.short_runs import small_student
from tests.training.synthetic_data import write_data

RECIPE = """
name = "short"
student = "nano"
stem = "random"
batch_clips = 2
hold_out = []
[[phases]]
clips = 4
frames = 2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "short.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def spec(tmp_path: Path) -> str:
    save_student(small_student(), tmp_path / "small.safetensors")
    return f"own:{tmp_path / 'small.safetensors'}"


@pytest.fixture(autouse=True)
def keep_threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_answers_are_made_once_and_counted(
    sam2lite: Callable[..., Call], recipe: Path, spec: str, tmp_path: Path
) -> None:
    data, cache = write_data(tmp_path / "data"), tmp_path / "cache"
    arguments = ("teach", "--recipe", recipe, "--teacher", spec, "--cache", cache, "--data", data, "--workers", 0)
    call = sam2lite(*arguments, "--steps", 1, "--threads", 1)
    files = list(cache.rglob("*.safetensors"))
    size = sum(path.stat().st_size for path in files) / 1e6
    assert call.out == f"1 of 1 steps: 2 clips new, 0 found, {size:.1f} MB written: {cache}\n", call.err
    assert (call.status, len(files)) == (0, 2)
    files[0].write_bytes(b"")
    call = sam2lite(*arguments, "--threads", 1)
    assert call.status == 0
    first, second = call.out.splitlines()
    assert first.startswith("2 of 2 steps: 3 clips new, 1 found, ")
    assert second == "1 of the new ones replace broken files"
    assert len(list(cache.rglob("*.safetensors"))) == 4


def test_teacher_of_the_recipe_is_asked_if_none_is_named(
    sam2lite: Callable[..., Call], recipe: Path, spec: str, tmp_path: Path
) -> None:
    synthetic = RECIPE.replace("[[phases]]", f'data = "synthetic"\n[distillation]\nteacher = "{spec}"\n[[phases]]')
    recipe.write_text(synthetic)
    call = sam2lite("teach", "--recipe", recipe, "--cache", tmp_path / "cache", "--workers", 0, "--steps", 1)
    assert call.out.startswith("1 of 1 steps: 2 clips new"), call.err
    assert (tmp_path / "cache-data" / "complete").is_file()


def test_recipe_without_a_teacher_needs_one_to_be_named(
    sam2lite: Callable[..., Call], recipe: Path, tmp_path: Path
) -> None:
    call = sam2lite("teach", "--recipe", recipe, "--cache", tmp_path / "cache")
    assert call.status == 2
    assert "--teacher: expected a teacher, got none, nor one in the recipe" in call.err


def test_unknown_teacher_is_told_the_grammar(sam2lite: Callable[..., Call], recipe: Path, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    call = sam2lite("teach", "--recipe", recipe, "--teacher", "sam9:x", "--cache", tmp_path / "cache", "--data", data)
    assert call.status == 2
    assert "sam2:FOLDER_OR_HUB_NAME" in call.err
    assert not (tmp_path / "cache").exists()
