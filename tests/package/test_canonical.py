"""Canonical bytes of a .mlpackage, and reading its interface without coremltools."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from sam2lite_mobile import contract
from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package.canonical import CONVERSION_DATE, DEBUG_MAPPING, canonicalize_mlpackage
from sam2lite_mobile.package.interface import read_interface, read_spec, spec_path
from sam2lite_mobile.package.tree import list_files, tree_sha256

SPEC = contract.graph_spec("prompt_encoder")

# Reorders the protobuf maps of a package, gives it another date and new identifiers: what a second conversion in
# another process may change. Run with another hash seed than the tests.
SCRAMBLE = """
import json, sys, uuid
from pathlib import Path
from sam2lite_mobile.package.interface import read_spec, spec_path

package = Path(sys.argv[1])
path = spec_path(package)
model = read_spec(path)
for entries in [model.description.metadata.userDefined] + [
    operation.attributes
    for function in model.mlProgram.functions.values()
    for block in function.block_specializations.values()
    for operation in block.operations
]:
    items = list(entries.items())
    entries.clear()
    for key, value in reversed(items):
        if isinstance(value, str):
            entries[key] = value
        else:
            entries[key].CopyFrom(value)
model.description.metadata.userDefined["com.github.apple.coremltools.conversion_date"] = "1999-12-31"
path.write_bytes(model.SerializeToString())
manifest = json.loads((package / "Manifest.json").read_text())
new = {key: str(uuid.uuid4()) for key in manifest["itemInfoEntries"]}
manifest["itemInfoEntries"] = {new[k]: v for k, v in reversed(manifest["itemInfoEntries"].items())}
manifest["rootModelIdentifier"] = new[manifest["rootModelIdentifier"]]
(package / "Manifest.json").write_text(json.dumps(manifest))
"""


def test_two_conversions_of_one_model_become_byte_identical(convert, tmp_path: Path) -> None:
    first, second = (convert(SPEC, tmp_path / f"{name}.mlpackage") for name in "ab")
    assert list_files(first) != list_files(second), "coremltools already writes equal packages"
    weights = [entry for entry in list_files(first) if entry.path.endswith("weight.bin")]
    assert canonicalize_mlpackage(first) == canonicalize_mlpackage(second)
    assert list_files(first) == list_files(second)
    assert weights == [entry for entry in list_files(first) if entry.path.endswith("weight.bin")]


def test_what_another_process_may_change_is_undone(models, tmp_path: Path) -> None:
    original = models["prompt_encoder"]
    copy = shutil.copytree(original, tmp_path / "copy.mlpackage")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", SCRAMBLE, str(copy)]
    subprocess.run(command, check=True, cwd=root, env={"PYTHONHASHSEED": "3", "PYTHONPATH": str(root)})
    assert list_files(copy) != list_files(original)
    canonicalize_mlpackage(copy)
    assert list_files(copy) == list_files(original)


def test_canonical_package_stays_as_it_is(models, tmp_path: Path) -> None:
    copy = shutil.copytree(models["token_gate"], tmp_path / "copy.mlpackage")
    before = list_files(copy)
    assert canonicalize_mlpackage(copy) == tree_sha256(before)
    assert list_files(copy) == before


def test_date_and_debug_mapping_are_gone_and_modes_fixed(convert, tmp_path: Path) -> None:
    package = convert(SPEC, tmp_path / "a.mlpackage")
    (package / DEBUG_MAPPING).write_text("{}")
    assert CONVERSION_DATE in read_spec(spec_path(package)).description.metadata.userDefined
    canonicalize_mlpackage(package)
    metadata = read_spec(spec_path(package)).description.metadata.userDefined
    assert CONVERSION_DATE not in metadata
    assert metadata["com.github.apple.coremltools.version"]
    assert not (package / DEBUG_MAPPING).exists()
    modes = {oct(path.stat().st_mode & 0o777) for path in package.rglob("*") if path.is_file()}
    assert modes == {"0o644"}


def test_identifiers_follow_the_content(models) -> None:
    identifiers = {}
    for graph, package in models.items():
        manifest = json.loads((package / "Manifest.json").read_text())
        assert all(uuid.UUID(key).version == 5 for key in manifest["itemInfoEntries"])
        assert manifest["rootModelIdentifier"] in manifest["itemInfoEntries"]
        identifiers[manifest["rootModelIdentifier"]] = graph
    assert len(identifiers) == len(models)


def test_file_that_the_package_does_not_name_is_refused(convert, tmp_path: Path) -> None:
    package = convert(SPEC, tmp_path / "a.mlpackage")
    (package / "Data" / "notes.txt").write_text("x")
    with pytest.raises(PackageError, match=r"got Data/notes\.txt"):
        canonicalize_mlpackage(package)


def test_interface_is_that_of_the_contract_with_a_picture_as_image(models) -> None:
    assert read_interface(models["image_encoder_256"], "coreml", "image_encoder_256") == (
        {"image": "image RGB 256 x 256"},
        {
            "features": "array float32 [1, 256, 16, 16]",
            "detail_8": "array float32 [1, 64, 32, 32]",
            "detail_4": "array float32 [1, 32, 64, 64]",
        },
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not json", "malformed"),
        (b"{}", "missing required field"),
        (
            b'{"fileFormatVersion":"1.0.0","itemInfoEntries":{"a":{"author":"x","description":"x","name":"x",'
            b'"path":"../../../etc/passwd"}},"rootModelIdentifier":"a"}',
            "paths inside the package",
        ),
        (b'{"fileFormatVersion":"1.0.0","itemInfoEntries":{},"rootModelIdentifier":"a"}', "rootModelIdentifier"),
    ],
)
def test_broken_manifest_of_a_core_ml_package_is_refused(models, tmp_path: Path, content: bytes, words: str) -> None:
    copy = shutil.copytree(models["token_gate"], tmp_path / "copy.mlpackage")
    (copy / "Manifest.json").write_bytes(content)
    with pytest.raises(PackageError, match=words):
        read_interface(copy, "coreml", "image_encoder_256")


@pytest.mark.parametrize("content", [b"\xff\xff\xff\xff", b""])
def test_specification_that_is_no_ml_program_is_refused(models, tmp_path: Path, content: bytes) -> None:
    copy = shutil.copytree(models["token_gate"], tmp_path / "copy.mlpackage")
    spec_path(copy).write_bytes(content)
    with pytest.raises(PackageError, match=r"model\.mlmodel: expected"):
        read_interface(copy, "coreml", "image_encoder_256")
