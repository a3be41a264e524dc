"""Packages are untrusted: what is malformed is refused by name, and nothing outside the folder is read."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.mlprogram import Package, Program, package
from sam2lite_mobile.mlprogram.proto import new_model
from sam2lite_mobile.mlprogram.types import unpack_bits
from tests.mlprogram.building import feeds, floats, mb, save_program

INPUT = floats(2, 6)
WEIGHT, BIAS = floats(8, 6, seed=1), floats(8, seed=2)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def two_linears(a):  # four constants in weight.bin
        return mb.linear(x=mb.linear(x=a, weight=WEIGHT, bias=BIAS), weight=WEIGHT.T.copy(), bias=BIAS[:6] * 0 + 1)

    return save_program(tmp_path_factory.mktemp("sound"), two_linears, [INPUT])


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "copy.mlpackage"))


def _model(folder: Path) -> Path:
    return next(folder.rglob("*.mlmodel"))


def _weights(folder: Path) -> Path:
    return next(folder.rglob("weight.bin"))


def _edit_model(folder: Path, edit: Callable) -> None:
    model = new_model()
    model.ParseFromString(_model(folder).read_bytes())
    edit(model)
    _model(folder).write_bytes(model.SerializeToString())


def _block(model):
    return next(iter(model.mlProgram.functions["main"].block_specializations.values()))


def _operations(model, kind: str):
    return [operation for operation in _block(model).operations if operation.type == kind]


def _blobs(model):
    constants = [operation.attributes["val"] for operation in _operations(model, "const")]
    return [value.blobFileValue for value in constants if value.WhichOneof("value") == "blobFileValue"]


def _edit_manifest(folder: Path, path: object) -> None:
    manifest = json.loads((folder / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
    (folder / "Manifest.json").write_text(json.dumps(manifest))


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    path.write_bytes(content)


def _first_record(folder: Path) -> int:
    model = new_model()
    model.ParseFromString(_model(folder).read_bytes())
    return min(blob.offset for blob in _blobs(model))


def test_sound_package_runs(sound: Path) -> None:
    (got,) = Program(sound).run(feeds([INPUT])).values()
    np.testing.assert_allclose(got, (INPUT @ WEIGHT.T + BIAS) @ WEIGHT + 1, rtol=1e-5)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"nothing\.mlpackage"):
        Package(tmp_path / "nothing.mlpackage")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"rootModelIdentifier": "x", "itemInfoEntries": {"x": 1}}', "[" * 100_000]
)
def test_malformed_manifest_is_refused(copy: Path, content: str) -> None:
    (copy / "Manifest.json").write_text(content)
    with pytest.raises(PackageError, match="Manifest"):
        Package(copy)


def test_manifest_over_the_limit_is_refused(copy: Path) -> None:
    (copy / "Manifest.json").write_text(" " * (package.MAX_MANIFEST_BYTES + 1))
    with pytest.raises(PackageError, match="at most 1048576 bytes"):
        Package(copy)


@pytest.mark.parametrize("path", ["../outside.mlmodel", "a/../../../outside.mlmodel", "a\\b", "x\0y"])
def test_model_path_outside_the_package_is_refused(copy: Path, path: str) -> None:
    (copy.parent / "outside.mlmodel").write_bytes(_model(copy).read_bytes())
    _edit_manifest(copy, path)
    with pytest.raises(PackageError, match="inside the package"):
        Package(copy)


def test_absolute_model_path_is_refused(copy: Path) -> None:
    _edit_manifest(copy, str(_model(copy)))
    with pytest.raises(PackageError, match="inside the package"):
        Package(copy)


def test_link_that_leaves_the_package_is_refused(copy: Path) -> None:
    outside = copy.parent / "outside.bin"
    shutil.move(_weights(copy), outside)
    (_model(copy).parent / "weights" / "weight.bin").symlink_to(outside)
    with pytest.raises(PackageError, match="inside the package"):
        Program(copy)


def test_weight_path_outside_the_model_folder_is_refused(copy: Path) -> None:
    def move(model):
        _blobs(model)[0].fileName = "@model_path/../../../outside.bin"

    _edit_model(copy, move)
    with pytest.raises(PackageError, match="inside the package"):
        Program(copy)


def test_model_file_of_noise_is_refused(copy: Path) -> None:
    _model(copy).write_bytes(b"\xff" * 1000)
    with pytest.raises(PackageError, match="model"):
        Package(copy)


def test_every_truncation_of_the_model_file_is_refused(copy: Path) -> None:
    content = _model(copy).read_bytes()
    for size in range(0, len(content), max(1, len(content) // 97)):
        _model(copy).write_bytes(content[:size])
        with pytest.raises(PackageError):
            Program(copy)


def test_every_truncation_of_the_weights_is_refused(copy: Path) -> None:
    content = _weights(copy).read_bytes()
    last_data_byte = max(i for i, byte in enumerate(content) if byte)
    for size in range(0, last_data_byte, 40):
        _weights(copy).write_bytes(content[:size])
        with pytest.raises(PackageError, match=r"weight\.bin"):
            Program(copy)


def test_other_kind_of_model_is_refused(copy: Path) -> None:
    _edit_model(copy, lambda model: model.neuralNetwork.SetInParent())
    with pytest.raises(PackageError, match="mlProgram, got neuralNetwork"):
        Package(copy)


def test_unknown_operations_are_all_named_with_their_counts(copy: Path) -> None:
    def rename(model):
        for operation in _operations(model, "linear"):
            operation.type = "quantum_linear"
        _operations(model, "const")[0].type = "magic"

    _edit_model(copy, rename)
    with pytest.raises(PackageError, match=r"unknown magic \(1\), quantum_linear \(2\)"):
        Program(copy)


def test_unknown_function_lists_those_that_exist(copy: Path) -> None:
    with pytest.raises(PackageError, match="expected main, got decoder"):
        Program(copy, function="decoder")


def test_argument_that_nothing_defines_is_refused(copy: Path) -> None:
    def cut(model):
        _operations(model, "linear")[0].inputs["x"].arguments[0].name = "ghost"

    _edit_model(copy, cut)
    with pytest.raises(PackageError, match="'ghost', which nothing defines"):
        Program(copy)


def test_declared_shape_that_differs_from_the_result_is_refused(copy: Path) -> None:
    def stretch(model):
        _operations(model, "linear")[0].outputs[0].type.tensorType.dimensions[1].constant.size = 9

    _edit_model(copy, stretch)
    with pytest.raises(PackageError, match=r"expected fp32 \[2, 9\], got float32 \[2, 8\]"):
        Program(copy).run(feeds([INPUT]))


def test_declared_kind_that_differs_from_the_result_is_refused(copy: Path) -> None:
    def retype(model):
        _operations(model, "linear")[0].outputs[0].type.tensorType.dataType = 23

    _edit_model(copy, retype)
    with pytest.raises(PackageError, match=r"expected int32 \[2, 8\], got float32"):
        Program(copy).run(feeds([INPUT]))


def test_kernel_without_spatial_axes_is_refused(copy: Path) -> None:
    def retype(model):
        _operations(model, "linear")[0].type = "conv_transpose"

    _edit_model(copy, retype)
    with pytest.raises(PackageError, match="operation conv_transpose"):
        Program(copy)


def test_tensor_of_absurd_size_is_refused_before_it_is_made(copy: Path) -> None:
    def swell(model):
        _operations(model, "linear")[0].outputs[0].type.tensorType.dimensions[1].constant.size = 1 << 40

    _edit_model(copy, swell)
    with pytest.raises(PackageError, match="elements"):
        Program(copy)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda start, size: (0, b"\x00"), "records"),  # the header counts fewer records
        (lambda start, size: (4, b"\x07"), "version 2, got 7"),
        (lambda start, size: (start, b"\x00"), "other bytes"),  # the sentinel
        (lambda start, size: (start + 4, b"\x01"), "expected fp32, got fp16"),
        (lambda start, size: (start + 8, struct.pack("<Q", 4)), "got 4 bytes"),
        (lambda start, size: (start + 8, struct.pack("<Q", 1 << 62)), "data inside"),
        (lambda start, size: (start + 16, struct.pack("<Q", size + 64)), "data inside"),
        (lambda start, size: (start + 16, struct.pack("<Q", start)), "overlap"),
        (lambda start, size: (start + 16, struct.pack("<Q", 0)), "data inside"),
        (lambda start, size: (start + 16, struct.pack("<Q", start + 65)), "data inside"),
    ],
)
def test_tampered_weight_record_is_refused(copy: Path, edit: Callable, reason: str) -> None:
    size = _weights(copy).stat().st_size
    _overwrite(_weights(copy), *edit(_first_record(copy), size))
    with pytest.raises(PackageError, match=reason):
        Program(copy)


def test_records_that_share_data_are_refused(copy: Path) -> None:
    model = new_model()
    model.ParseFromString(_model(copy).read_bytes())
    first, second = sorted({blob.offset for blob in _blobs(model)})[:2]
    (start,) = struct.unpack("<Q", _weights(copy).read_bytes()[first + 16 : first + 24])
    _overwrite(_weights(copy), second + 16, struct.pack("<Q", start))
    with pytest.raises(PackageError, match="overlap another constant"):
        Program(copy)


def test_record_offset_outside_the_file_is_refused(copy: Path) -> None:
    def point_outside(model):
        _blobs(model)[0].offset = 1 << 40

    _edit_model(copy, point_outside)
    with pytest.raises(PackageError, match="a record inside"):
        Program(copy)


def test_flipped_bytes_never_end_in_another_error(copy: Path, rng: np.random.Generator) -> None:
    content = _model(copy).read_bytes()
    for _ in range(150):
        noisy = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            noisy[place] = rng.integers(0, 256)
        _model(copy).write_bytes(bytes(noisy))
        try:
            program = Program(copy)
            program.run({spec.name: np.zeros(spec.shape, np.float32) for spec in program.inputs})
        except PackageError:
            continue


def test_sub_byte_integers_start_at_the_lowest_bits() -> None:
    raw = np.array([0b11100100, 0b00011011], np.uint8)
    assert unpack_bits(raw, count=8, bits=2).tolist() == [0, 1, 2, 3, 3, 2, 1, 0]
    assert unpack_bits(raw, count=4, bits=4, signed=True).tolist() == [4, -2, -5, 1]
    assert unpack_bits(raw, count=2, bits=6).tolist() == [0b100100, 0b101111]
