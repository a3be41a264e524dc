"""Publishing an iOS package: layout, equal bytes, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec import structs

from sam2lite_mobile.errors import ContractError, DataError, PackageError
from sam2lite_mobile.package.codec import read_manifest
from sam2lite_mobile.package.publish import publish_ios
from sam2lite_mobile.package.schema import manifest_schema
from sam2lite_mobile.package.tree import list_files
from tests.package.samples import draft, gates


def test_equal_inputs_give_equal_bytes_and_modes(models, texts, published: Path, tmp_path: Path) -> None:
    again = publish_ios(tmp_path / "elsewhere" / "ios", models=models, manifest=draft(), **texts)
    assert list_files(again) == list_files(published)
    modes = [{p.relative_to(f): p.stat().st_mode for p in f.rglob("*")} for f in (again, published)]
    assert modes[0] == modes[1]


def test_layout_is_a_swift_package_with_models_manifest_schema_and_texts(published: Path) -> None:
    top = sorted(path.name for path in published.iterdir())
    texts = ["LICENSE", "MODEL_CARD.md", "Package.swift", "README.md"]
    assert top == [*texts, "Sources", "manifest.json", "manifest.schema.json"]
    models = published / "Sources/SAM2LiteModels/Models"
    assert sorted(path.name for path in models.iterdir()) == [
        "image_encoder_256.mlpackage",
        "manifest.json",
        "mask_decoder_256.mlpackage",
        "memory_encoder_256.mlpackage",
        "prompt_encoder.mlpackage",
        "token_gate.mlpackage",
    ]
    assert (models / "manifest.json").read_bytes() == (published / "manifest.json").read_bytes()
    assert (published / "manifest.schema.json").read_bytes() == manifest_schema()
    assert list(models.parent.glob("*.swift"))


def test_published_models_are_the_bytes_that_were_given(models, published: Path) -> None:
    for graph in read_manifest(published / "manifest.json").graphs:
        assert graph.files == list_files(published / graph.path) == list_files(models[graph.id])
        assert graph.bytes == sum(path.stat().st_size for path in models[graph.id].rglob("*") if path.is_file())


def test_new_package_replaces_the_old_one_whole(models, texts, package: Path) -> None:
    (package / "stale.txt").write_text("of an older layout")
    publish_ios(package, models=models, manifest=draft(package_version="2.0.0"), **texts)
    assert read_manifest(package / "manifest.json").package_version == "2.0.0"
    assert not (package / "stale.txt").exists()


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_graphs_other_than_the_contracts_are_refused(models, texts, tmp_path: Path, change: str) -> None:
    given = dict(models)
    if change == "missing":
        del given["token_gate"]
    else:
        given["mask_decoder_512"] = given["mask_decoder_256"]
    with pytest.raises(ContractError, match="graphs of the package: expected image_encoder_256"):
        publish_ios(tmp_path / "ios", models=given, manifest=draft(), **texts)
    assert list(tmp_path.iterdir()) == []


def test_missed_gate_writes_nothing_and_keeps_the_old_package(models, texts, package: Path) -> None:
    before = list_files(package)
    bad = (structs.replace(gates()[0], measured=12.5, passed=False), *gates()[1:])
    with pytest.raises(PackageError, match=r"image_encoder_256 features snr_db .*at least 45\.0, got 12\.5") as caught:
        publish_ios(package, models=models, manifest=draft(results=bad), **texts)
    assert caught.value.exit_status == 1
    assert list_files(package) == before
    assert [path.name for path in package.parent.iterdir()] == ["ios"]


def test_model_that_is_not_canonical_is_refused_before_it_ships(models, texts, tmp_path: Path) -> None:
    raw = shutil.copytree(models["token_gate"], tmp_path / "raw.mlpackage")
    with (raw / "Manifest.json").open("a") as file:
        file.write("\n")
    with pytest.raises(PackageError, match=r"raw\.mlpackage: expected canonical bytes"):
        publish_ios(tmp_path / "ios", models={**models, "token_gate": raw}, manifest=draft(), **texts)


def test_model_with_a_link_inside_is_refused(models, texts, tmp_path: Path) -> None:
    linked = shutil.copytree(models["token_gate"], tmp_path / "linked.mlpackage")
    (linked / "Data" / "link").symlink_to("/etc/hostname")
    with pytest.raises(PackageError, match="symbolic link"):
        publish_ios(tmp_path / "ios", models={**models, "token_gate": linked}, manifest=draft(), **texts)


def test_missing_model_or_card_is_named(models, texts, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"none\.mlpackage: expected a folder"):
        publish_ios(
            tmp_path / "ios", models={**models, "token_gate": tmp_path / "none.mlpackage"}, manifest=draft(), **texts
        )
    with pytest.raises(PackageError, match=r"none\.md: expected a regular file"):
        publish_ios(
            tmp_path / "ios",
            models=models,
            manifest=draft(),
            model_card=tmp_path / "none.md",
            licence=texts["licence"],
        )


def test_folder_that_is_no_package_is_never_replaced(models, texts, tmp_path: Path) -> None:
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="got a folder with other files"):
        publish_ios(tmp_path / "documents", models=models, manifest=draft(), **texts)
    assert (tmp_path / "documents" / "thesis.txt").read_text() == "mine"


def test_empty_folder_may_be_published_into(models, texts, tmp_path: Path) -> None:
    (tmp_path / "ios").mkdir()
    publish_ios(tmp_path / "ios", models=models, manifest=draft(), **texts)
    assert (tmp_path / "ios" / "manifest.json").is_file()
