"""Teachers by name: what each specification opens, and what a wrong one is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sam2lite_mobile.engines.torch_engine import default_checkpoint
from sam2lite_mobile.errors import ContractError, DataError, MissingBackendError
from sam2lite_mobile.student.checkpoint import save_student
from sam2lite_mobile.training.teachers.loading import open_teacher
from sam2lite_mobile.training.teachers.own import OwnTeacher
from tests.training.short_runs import small_student


def test_published_size_is_its_shipped_checkpoint() -> None:
    named = open_teacher("own:nano", device="cpu")
    assert isinstance(named, OwnTeacher)
    assert named.fingerprint == open_teacher(f"own:{default_checkpoint('nano')}", device="cpu").fingerprint


def test_checkpoint_is_opened_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "with:colon.safetensors"
    save_student(small_student(), path)
    assert open_teacher(f"own:{path}", device="cpu").fingerprint == OwnTeacher.from_checkpoint(path).fingerprint


@pytest.mark.parametrize("spec", ["", "tiny", "own:", "own", "sam3:facebook/sam3", "OWN:tiny", ":tiny"])
def test_wrong_specification_is_told_the_grammar(spec: str) -> None:
    with pytest.raises(ContractError, match=r"own:FILE.safetensors, sam2:FOLDER_OR_HUB_NAME or edgetam:FOLDER"):
        open_teacher(spec, device="cpu")


def test_missing_checkpoint_is_named() -> None:
    with pytest.raises(DataError, match="no-such-file"):
        open_teacher("own:no-such-file.safetensors", device="cpu")


def test_published_size_without_shipped_weights_is_told_what_to_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    with pytest.raises(MissingBackendError, match="default weights of base"):
        open_teacher("own:base", device="cpu")


@pytest.mark.parametrize("kind", ["sam2", "edgetam"])
def test_missing_library_is_an_error_with_the_install_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("transformers", f"transformers.models.{kind}_video.modeling_{kind}_video"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingBackendError, match=r"pip install 'sam2lite-mobile\[teacher\]'"):
        open_teacher(f"{kind}:{tmp_path}", device="cpu")
