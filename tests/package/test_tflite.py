"""TFLite packages: layout, equal bytes, verification, and files that are not what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from converters.tflite.flatbuffer import unpack
from converters.tflite.merge import merge
from converters.tflite.packing import pack
from sam2lite_mobile import contract
from sam2lite_mobile.errors import ContractError, PackageError
from sam2lite_mobile.package.codec import read_manifest
from sam2lite_mobile.package.manifest import Manifest
from sam2lite_mobile.package.publish import publish_models
from sam2lite_mobile.package.tflite import write_tflite_package
from sam2lite_mobile.package.tflite_models import read_tflite_interface
from sam2lite_mobile.package.tree import list_files
from sam2lite_mobile.package.verify import verify_package
from tests.package.samples import SIZES, draft
from tests.repository import ROOT
from tests.tflite_models import contract_model

SPECS = contract.all_graph_specs(SIZES)
NAME = Path(contract.TFLITE_MODEL).name


def manifest() -> Manifest:
    return structs.replace(draft(), runtime="tflite")


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """Where a build has the files of single graphs, and the model of all beside them."""
    folder = tmp_path / "build"
    folder.mkdir()
    data = merge([contract_model(spec) for spec in SPECS], description="test", recipe="fp16")
    (folder / NAME).write_bytes(data)
    return {spec.id: folder / f"{spec.id}.tflite" for spec in SPECS}


def publish(target: Path, models: dict[str, Path]) -> Path:
    texts = {"readme": ROOT / "android_demo/README.md", "model_card": ROOT / "assets/weights/no_card.md"}
    return publish_models(
        target, write_tflite_package, models=models, manifest=manifest(), licence=ROOT / "LICENSE", **texts
    )


def test_package_has_one_model_verifies_and_has_the_same_bytes_again(models: dict[str, Path], tmp_path: Path) -> None:
    first, second = publish(tmp_path / "first", models), publish(tmp_path / "second", models)
    assert list_files(first) == list_files(second)
    report = verify_package(first)
    assert report.passed, [f"{check.what}: {check.got}" for check in report.failures]
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file())
    texts = ["LICENSE", "MODEL_CARD.md", "README.md", "manifest.json", "manifest.schema.json"]
    assert names == [*texts, contract.TFLITE_MODEL]
    written = read_manifest(first / "manifest.json")
    assert written.runtime == "tflite"
    assert {graph.path for graph in written.graphs} == {contract.TFLITE_MODEL}


def test_changed_model_fails_by_its_hash_and_a_lost_signature_by_its_name(
    models: dict[str, Path], tmp_path: Path
) -> None:
    package = publish(tmp_path / "package", models)
    path = package / contract.TFLITE_MODEL
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    assert contract.TFLITE_MODEL in [check.what for check in verify_package(package).failures]
    shared = next(iter(models.values())).with_name(NAME)
    kept = [contract_model(spec) for spec in SPECS if spec.graph != "token_gate"]
    shared.write_bytes(merge(kept, description="test", recipe="fp16"))
    with pytest.raises(PackageError, match="expected a signature token_gate, got none"):
        publish(tmp_path / "other", models)
    assert not (tmp_path / "other").exists()


def test_graphs_other_than_the_contracts_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    del models["token_gate"]
    with pytest.raises(ContractError, match="graphs of the package"):
        publish(tmp_path / "package", models)


def test_interface_of_a_signature_is_read_without_running_it(models: dict[str, Path]) -> None:
    path = next(iter(models.values())).with_name(NAME)
    inputs, outputs = read_tflite_interface(path, "prompt_encoder")
    assert inputs == {"points": "array float32 [1, 8, 2]", "labels": "array float32 [1, 8]"}
    assert outputs == {"prompt_tokens": "array float32 [1, 8, 256]", "prompt_mask": "array float32 [1, 8]"}


def test_broken_and_strange_files_are_refused(models: dict[str, Path]) -> None:
    path = next(iter(models.values())).with_name(NAME)
    data = path.read_bytes()
    strange = unpack(data)
    strange.signatureDefs[0].inputs[0].tensorIndex = 10**6
    strange.signatureDefs[1].subgraphIndex = 10**6
    for content, graph in (
        (b"", "token_gate"),
        (b"TFL3TFL3", "token_gate"),
        (data[:4] + b"XXXX" + data[8:], "token_gate"),
        (b"\xff\xff\xff\x7fTFL3" + data[8:], "token_gate"),
        (data[: len(data) // 8], "token_gate"),
        (pack(strange), SPECS[0].id),
        (pack(strange), SPECS[1].id),
    ):
        path.write_bytes(content)
        with pytest.raises(PackageError, match=r"sam2lite\.tflite: expected"):
            read_tflite_interface(path, graph)


def test_link_in_place_of_a_model_is_refused(models: dict[str, Path]) -> None:
    path = next(iter(models.values())).with_name(NAME)
    link = path.with_name("link.tflite")
    link.symlink_to(path)
    with pytest.raises(PackageError):
        read_tflite_interface(link, "token_gate")
