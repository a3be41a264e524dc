"""Checkpoints: what goes in comes out, and files from elsewhere are refused by name."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from sam2lite_mobile.errors import CheckpointError
from sam2lite_mobile.student.checkpoint import checkpoint_hash, load_student, read_header, save_student
from sam2lite_mobile.student.config import StudentConfig
from sam2lite_mobile.student.student import Student

CONFIG = StudentConfig("test", width=16, blocks=1, heads=2, decoder_layers=1, decoder_heads=4, decoder_hidden=32)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "student.safetensors"
    save_student(Student(CONFIG), path, facts={"recipe": "test"})
    return path


def rewrite(path: Path, change: object, **metadata: str) -> None:
    """Save the file again with changed tensors and header entries."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        facts = dict(file.metadata())
    tensors = load_file(path)
    if callable(change):
        change(tensors)
    save_file(tensors, path, {**facts, **metadata})


def test_weights_come_back_as_they_were_in_half_precision(saved: Path) -> None:
    torch.manual_seed(0)
    original = Student(CONFIG).state_dict()
    loaded = load_student(saved).state_dict()
    assert loaded.keys() == original.keys()
    for name, value in loaded.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, original[name].half().float()), name
    assert read_header(saved)[0] == CONFIG
    assert read_header(saved)[1]["recipe"] == "test"


def test_same_weights_give_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_student(Student(CONFIG), tmp_path / "again.safetensors", facts={"recipe": "test"})
    assert checkpoint_hash(saved) == checkpoint_hash(tmp_path / "again.safetensors")


def test_unknown_missing_and_misshapen_entries_are_named(saved: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors["surprise"] = torch.zeros(3)
        del tensors["token_gate.score.bias"]
        tensors["mask_decoder.score.weight"] = torch.zeros(1, 255)

    rewrite(saved, change)
    with pytest.raises(CheckpointError) as caught:
        load_student(saved)
    for part in (
        "unknown entry surprise",
        "missing entry token_gate.score.bias",
        "mask_decoder.score.weight is (1, 255)",
    ):
        assert part in str(caught.value)


def test_other_dtypes_and_values_that_are_not_finite_are_refused(saved: Path) -> None:
    rewrite(saved, lambda t: t.update({"token_gate.score.bias": torch.zeros(1, dtype=torch.int64)}))
    with pytest.raises(CheckpointError, match="I64"):
        load_student(saved)
    rewrite(saved, lambda t: t.update({"token_gate.score.bias": torch.full((1,), float("nan"))}))
    with pytest.raises(CheckpointError, match=r"token_gate\.score\.bias is not finite"):
        load_student(saved)


@pytest.mark.parametrize(
    "config",
    [
        "not json",
        "[]",
        json.dumps(CONFIG.to_dict() | {"extra": 1}),
        json.dumps(CONFIG.to_dict() | {"width": "16"}),
        json.dumps(CONFIG.to_dict() | {"width": 10**9}),
        json.dumps(CONFIG.to_dict() | {"patch_embed": "other"}),
    ],
)
def test_configuration_from_elsewhere_is_checked(saved: Path, config: str) -> None:
    rewrite(saved, None, config=config)
    with pytest.raises(CheckpointError):
        load_student(saved)


def test_other_formats_truncated_and_absurd_files_are_refused(saved: Path, tmp_path: Path) -> None:
    rewrite(saved, None, format_version="2")
    with pytest.raises(CheckpointError, match="version 1"):
        load_student(saved)
    torch.manual_seed(0)
    save_student(Student(CONFIG), saved)
    data = saved.read_bytes()
    broken = tmp_path / "broken.safetensors"
    for content in (b"", data[:7], data[: len(data) // 2], struct.pack("<Q", 1 << 40) + data[8:], b"\x80\x04pickle"):
        broken.write_bytes(content)
        with pytest.raises(CheckpointError):
            load_student(broken)
    with pytest.raises(CheckpointError, match="expected a file"):
        load_student(tmp_path / "absent.safetensors")


def test_weights_that_overflow_half_precision_are_refused_when_saved(tmp_path: Path) -> None:
    student = Student(CONFIG)
    student.token_gate.score.bias.data.fill_(1e6)
    with pytest.raises(CheckpointError, match=r"token_gate\.score\.bias"):
        save_student(student, tmp_path / "student.safetensors")
    assert not list(tmp_path.iterdir())
