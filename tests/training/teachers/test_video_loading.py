"""Video teachers from a folder: the same answers as before saving, and nothing but whole safetensors."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from sam2lite_mobile.errors import DataError, MissingBackendError
from sam2lite_mobile.training.teachers.loading import open_teacher
from sam2lite_mobile.training.teachers.video_loading import open_video_model
from sam2lite_mobile.training.teachers.video_model import VideoModelTeacher
from tests.training.teachers.video_models import KINDS, noisy_clip, teacher_of, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'sam2lite-mobile[teacher]'")


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(kind: str) -> Any:
    return tiny_model(KINDS[kind])


@pytest.fixture(scope="module")
def saved(kind: str, model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(kind)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_saved_model_gives_the_same_answers(kind: str, model: Any, saved: Path) -> None:
    clip = noisy_clip(frames=3, side=32)
    teachers = teacher_of(KINDS[kind], model, compact=True), open_teacher(f"{kind}:{saved}", device="cpu")
    for one, other in zip(*(teacher.track(*clip) for teacher in teachers), strict=True):
        assert (one.spans, one.query_grid) == (other.spans, other.query_grid)
        for name in ("mask_logits", "attention", "readout"):
            torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=0)


def test_fingerprint_follows_weights_and_not_the_place(kind: str, saved: Path, folder: Path) -> None:
    first = open_teacher(f"{kind}:{saved}", device="cpu").fingerprint
    assert len(first) == 64
    assert open_teacher(f"{kind}:{folder}", device="cpu").fingerprint == first
    assert open_video_model(KINDS[kind], str(folder), device="cpu", compact=False).fingerprint != first
    weights = load_file(folder / "model.safetensors")
    weights["no_memory_embedding"] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert open_teacher(f"{kind}:{folder}", device="cpu").fingerprint != first


def test_fingerprint_follows_the_configuration(kind: str, saved: Path, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["sigmoid_bias_for_mem_enc"] = -9.0
    (folder / "config.json").write_text(json.dumps(config))
    prints = {open_teacher(f"{kind}:{path}", device="cpu").fingerprint for path in (saved, folder)}
    assert len(prints) == 2


def test_loaded_model_is_frozen(kind: str, saved: Path) -> None:
    teacher = open_teacher(f"{kind}:{saved}", device="cpu")
    assert isinstance(teacher, VideoModelTeacher)
    assert not any(p.requires_grad for p in teacher._model.parameters())
    assert not any(module.training for module in teacher._model.modules())


def test_incomplete_weights_are_refused_by_name(kind: str, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["no_memory_embedding"]
    weights["no_object_pointer"] = torch.zeros(1, 7)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"2 missing or misshapen: no_memory_embedding.*no_object_pointer"):
        open_teacher(f"{kind}:{folder}", device="cpu")


def test_pickled_weights_are_refused(kind: str, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="a model that loads"):
        open_teacher(f"{kind}:{folder}", device="cpu")


def test_truncated_weights_are_refused(kind: str, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="a model that loads"):
        open_teacher(f"{kind}:{folder}", device="cpu")


@pytest.mark.parametrize("text", ["", "[]", '{"model_type": "bert"}', "{"])
def test_folder_of_something_else_is_refused(kind: str, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DataError, match=f"{kind} teacher"):
        open_teacher(f"{kind}:{tmp_path}", device="cpu")


def test_model_of_another_kind_is_refused(kind: str, saved: Path) -> None:
    (other,) = set(KINDS) - {kind}
    with pytest.raises(DataError, match=f"expected model_type '{other}_video', got model_type '{kind}_video'"):
        open_teacher(f"{other}:{saved}", device="cpu")


def test_folder_that_does_not_exist_is_refused_without_asking_the_hub(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a folder with config.json, or a name owner/name on the hub"):
        open_teacher(f"{kind}:{tmp_path / 'none'}", device="cpu")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="needs an environment without torchvision")
def test_image_encoder_whose_packages_are_missing_is_an_error_that_names_them(kind: str, folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] = {"model_type": "edgetam_vision_model", "backbone_config": {"model_type": "timm_wrapper"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MissingBackendError, match=r"timm.*EdgeTAM's image encoder needs timm and torchvision"):
        open_teacher(f"{kind}:{folder}", device="cpu")
