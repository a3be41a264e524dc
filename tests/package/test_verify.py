"""Verification of a package: whatever is changed is refused, and named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.package.codec import encode_manifest, read_manifest
from sam2lite_mobile.package.manifest import MANIFEST_NAME, WORST_MASK_IOU, GateResult, Manifest
from sam2lite_mobile.package.report import printable
from sam2lite_mobile.package.tree import list_files
from sam2lite_mobile.package.verify import PackageLimits, is_current, verify_package

COPY = f"Sources/SAM2LiteModels/Models/{MANIFEST_NAME}"
WEIGHTS = "Sources/SAM2LiteModels/Models/token_gate.mlpackage/Data/com.apple.CoreML/weights/weight.bin"


def failing(package: Path) -> str:
    """What a refused package was refused for, as one text."""
    report = verify_package(package)
    assert not report.passed
    return "\n".join(f"{check.group}: {check.what}: {check.expected}: {check.got}" for check in report.failures)


def rewrite(package: Path, change: Callable[[Manifest], Manifest]) -> None:
    """Change the manifest as someone would who also fixes its hash and its copy."""
    data = encode_manifest(change(read_manifest(package / MANIFEST_NAME)))
    for name in (MANIFEST_NAME, COPY):
        (package / name).write_bytes(data)


def write_text(package: Path, change: Callable[[dict], None]) -> None:
    """Change the manifest's JSON without its hash."""
    content = json.loads((package / MANIFEST_NAME).read_text())
    change(content)
    (package / MANIFEST_NAME).write_text(json.dumps(content, indent=2) + "\n")


def test_published_package_passes_and_every_group_was_checked(published: Path) -> None:
    report = verify_package(published)
    assert report.failures == ()
    assert report.passed
    assert set(report.groups()) == {"manifest", "paths", "tree", "files", "contract", "graphs", "tensors", "gates"}
    assert all(count == made > 0 for count, made in report.groups().values())


def test_verification_writes_nothing(published: Path) -> None:
    before = list_files(published.parent)
    verify_package(published)
    assert list_files(published.parent) == before


def test_missing_folder_is_a_wrong_call_not_a_failed_verification(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a package folder, got no such folder") as caught:
        verify_package(tmp_path / "none")
    assert caught.value.exit_status == 2


def test_empty_folder_is_refused_for_its_manifest(tmp_path: Path) -> None:
    assert MANIFEST_NAME in failing(tmp_path)


def test_a_flipped_byte_in_any_file_is_refused_and_the_file_named(package: Path) -> None:
    names = [entry.path for entry in list_files(package)]
    assert len(names) > 20
    for name in names:
        path = package / name
        data = path.read_bytes()
        for position in {0, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            assert name in failing(package), (name, position)
        path.write_bytes(data)
    assert verify_package(package).passed


def test_truncated_or_lengthened_file_is_refused_by_its_length(package: Path) -> None:
    path = package / WEIGHTS
    data = path.read_bytes()
    for changed in (data[:-1], b"", data + b"\0"):
        path.write_bytes(changed)
        assert f"files: {WEIGHTS}: {len(data)} bytes: {len(changed)} bytes" in failing(package)


def test_deleted_file_is_refused_and_named(package: Path) -> None:
    for entry in list_files(package):
        path = package / entry.path
        data = path.read_bytes()
        path.unlink()
        assert entry.path in failing(package)
        path.write_bytes(data)


def test_added_file_or_folder_is_refused_and_named(package: Path) -> None:
    added = package / "Sources/SAM2LiteModels/Extra.swift"
    added.write_text("import Foundation\n")
    assert "tree: Sources/SAM2LiteModels/Extra.swift: no file of this name: a file" in failing(package)
    added.unlink()
    (package / ".build").mkdir()
    assert "tree: .build: no folder of this name" in failing(package)


def test_file_replaced_by_a_link_to_the_same_bytes_is_refused(package: Path, tmp_path: Path) -> None:
    path = package / "LICENSE"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "tree: LICENSE: a plain file: a symbolic link" in failing(package)


def test_folder_replaced_by_a_link_to_the_same_files_is_refused(package: Path, tmp_path: Path) -> None:
    path = package / "Sources"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert "tree: Sources: a plain file: a symbolic link" in failing(package)


def test_manifest_that_is_a_link_is_refused(package: Path, tmp_path: Path) -> None:
    (package / MANIFEST_NAME).rename(tmp_path / "elsewhere.json")
    (package / MANIFEST_NAME).symlink_to(tmp_path / "elsewhere.json")
    assert MANIFEST_NAME in failing(package)


def test_pipe_in_the_place_of_a_file_is_refused_without_waiting_for_a_writer(package: Path) -> None:
    for name in ("LICENSE", MANIFEST_NAME):
        (package / name).unlink()
        os.mkfifo(package / name)
        assert name in failing(package)
        (package / name).unlink()
        (package / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("../outside.txt", "'..'"),
        ("Sources/../../outside.txt", "'..'"),
        ("/etc/hostname", "an absolute path"),
        ("C:/outside.txt", "a backslash or a colon"),
        ("Sources\\outside.txt", "a backslash"),
        ("./README.md", "'.'"),
        ("Sources//README.md", "an empty part"),
        ("Sources/READ\nME.md", "a control character"),
        ("Sources/e\u0301.md", "Unicode form C"),
    ],
)
def test_path_that_leaves_the_package_is_refused_before_it_is_opened(package: Path, path: str, fault: str) -> None:
    (package.parent / "outside.txt").write_text("secret")

    def point_elsewhere(manifest: Manifest) -> Manifest:
        first, *rest = manifest.files
        return structs.replace(manifest, files=(structs.replace(first, path=path), *rest))

    rewrite(package, point_elsewhere)
    text = failing(package)
    assert f"paths: {printable(path)}" in text
    assert fault in text
    assert "files:" not in text


@pytest.mark.parametrize("where", ["graph", "file of a graph", "copy"])
def test_path_that_leaves_through_a_graph_or_a_copy_is_refused(package: Path, where: str) -> None:
    def point_elsewhere(manifest: Manifest) -> Manifest:
        graph, *rest = manifest.graphs
        if where == "graph":
            return structs.replace(manifest, graphs=(structs.replace(graph, path="../x.mlpackage"), *rest))
        if where == "copy":
            return structs.replace(manifest, copies=("../manifest.json",))
        entry = structs.replace(graph.files[0], path="../../x")
        return structs.replace(manifest, graphs=(structs.replace(graph, files=(entry, *graph.files[1:])), *rest))

    rewrite(package, point_elsewhere)
    assert "an empty part, '.' or '..'" in failing(package)


def test_paths_that_differ_in_case_only_are_refused(package: Path) -> None:
    def add_twin(manifest: Manifest) -> Manifest:
        licence = next(entry for entry in manifest.files if entry.path == "LICENSE")
        return structs.replace(manifest, files=(*manifest.files, structs.replace(licence, path="License")))

    (package / "License").write_bytes((package / "LICENSE").read_bytes())
    rewrite(package, add_twin)
    assert "paths: License: a path of its own: LICENSE where case is ignored" in failing(package)


def test_file_listed_twice_is_refused(package: Path) -> None:
    rewrite(package, lambda manifest: structs.replace(manifest, files=(*manifest.files, manifest.files[0])))
    assert "one entry: several" in failing(package)


def test_package_over_a_limit_is_refused_before_its_files_are_read(package: Path) -> None:
    total = sum(entry.bytes for entry in list_files(package))
    for limits, words in (
        (PackageLimits(files=3), "at most 3"),
        (PackageLimits(file_bytes=100), "at most 100 bytes"),
        (PackageLimits(total_bytes=total // 2), f"at most {total // 2}"),
    ):
        report = verify_package(package, limits=limits)
        assert any(words in check.expected for check in report.failures)
        assert "files" not in report.groups()


def test_manifest_over_its_size_limit_is_refused(package: Path) -> None:
    with (package / MANIFEST_NAME).open("ab") as file:
        file.write(b" " * (4 * 2**20))
    assert "at most 4194304 bytes" in failing(package)


def test_newer_manifest_is_refused_with_the_advice_to_upgrade(package: Path) -> None:
    write_text(package, lambda content: content.update(manifest_version=4, something_new=True))
    assert "manifest_version: expected 3, got 4; upgrade sam2lite-mobile" in failing(package)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(extra=1), "unknown field `extra`"),
        (lambda content: content["gates"][0].update(extra=1), "unknown field `extra` - at `$.gates[0]`"),
        (lambda content: content.pop("build_key"), "missing required field `build_key`"),
        (lambda content: content.update(sizes="256"), "at `$.sizes`"),
        (lambda content: content["graphs"][0]["files"][0].update(bytes="12"), "at `$.graphs[0].files[0].bytes`"),
        (lambda content: content.update(checkpoint_sha256="A" * 64), "at `$.checkpoint_sha256`"),
    ],
)
def test_manifest_that_breaks_the_schema_is_refused_and_the_field_named(package: Path, change, words: str) -> None:
    write_text(package, change)
    assert words in failing(package)


def test_gate_value_changed_by_hand_is_refused(package: Path) -> None:
    write_text(package, lambda content: content["gates"][0].update(measured=99.0))
    text = failing(package)
    assert MANIFEST_NAME in text
    assert "self_sha256" in text


def test_manifest_copy_that_differs_is_refused(package: Path) -> None:
    other = read_manifest(package / MANIFEST_NAME)
    (package / COPY).write_bytes(encode_manifest(structs.replace(other, package_version="9.9.9")))
    assert f"files: {COPY} as a copy of manifest.json" in failing(package)


def replace_gate(manifest: Manifest, index: int, gate: GateResult) -> Manifest:
    return structs.replace(manifest, gates=(*manifest.gates[:index], gate, *manifest.gates[index + 1 :]))


def test_gate_below_its_limit_is_refused_even_if_it_says_passed(package: Path) -> None:
    rewrite(package, lambda m: replace_gate(m, 0, structs.replace(m.gates[0], measured=44.9)))
    assert "gate of image_encoder_256 features snr_db (fp16): at least 45.0: 44.9, recorded as passed" in failing(
        package
    )


def test_gate_exactly_at_its_limit_passes_and_the_direction_of_the_bound_counts(package: Path) -> None:
    rewrite(package, lambda m: replace_gate(m, 0, structs.replace(m.gates[0], measured=45.0)))
    assert verify_package(package).passed
    rewrite(package, lambda m: replace_gate(m, 0, structs.replace(m.gates[0], measured=45.1, bound="at_most")))
    assert "at most 45.0: 45.1" in failing(package)


def test_gate_recorded_as_failed_is_refused(package: Path) -> None:
    rewrite(package, lambda m: replace_gate(m, 0, structs.replace(m.gates[0], passed=False)))
    assert "recorded as failed" in failing(package)


def test_missing_gate_of_any_output_or_size_is_refused_and_named(package: Path) -> None:
    original = read_manifest(package / MANIFEST_NAME)
    for index, gate in enumerate(original.gates):
        rewrite(package, lambda m, i=index: structs.replace(m, gates=original.gates[:i] + original.gates[i + 1 :]))
        text = failing(package)
        clip = "a chained clip at 256 px" if gate.measure == WORST_MASK_IOU else "gate of J&F (fp16)"
        wanted = f"gate of {gate.graph} {gate.tensor} (fp16)" if gate.kind == "graph" else clip
        assert f"{wanted}" in text
        assert "a result: none" in text


def test_gate_of_another_precision_does_not_stand_for_the_shipped_one(package: Path) -> None:
    rewrite(package, lambda m: replace_gate(m, 0, structs.replace(m.gates[0], precision="fp32")))
    assert "gate of image_encoder_256 features (fp16): a result: none" in failing(package)


def test_changed_constant_is_refused_and_named(package: Path) -> None:
    rewrite(package, lambda m: structs.replace(m, contract=structs.replace(m.contract, age_frames=127)))
    assert "contract.age_frames: 128: 127" in failing(package)


def test_size_or_default_outside_the_package_is_refused(package: Path) -> None:
    rewrite(package, lambda m: structs.replace(m, defaults=structs.replace(m.defaults, size=512, window=9)))
    text = failing(package)
    assert "defaults.size: one of (256,): 512" in text
    assert "defaults.window: 2 to 8: 9" in text


def test_graph_that_is_left_out_is_refused(package: Path) -> None:
    def drop(manifest: Manifest) -> Manifest:
        for entry in manifest.graphs[-1].files:
            (package / manifest.graphs[-1].path / entry.path).unlink()
        for folder in ("Data/com.apple.CoreML/weights", "Data/com.apple.CoreML", "Data", "."):
            (package / manifest.graphs[-1].path / folder).rmdir()
        return structs.replace(manifest, graphs=manifest.graphs[:-1])

    rewrite(package, drop)
    assert "graphs: manifest.json graphs" in failing(package)


@pytest.mark.parametrize(
    "change", [{"shape": (1, 256, 8, 8)}, {"name": "feature"}, {"low": 0.0}, {"kind": "image", "dtype": "uint8"}]
)
def test_declared_tensor_that_is_not_the_contracts_is_refused(package: Path, change: dict) -> None:
    def alter(manifest: Manifest) -> Manifest:
        graph = manifest.graphs[0]
        outputs = (structs.replace(graph.outputs[0], **change), *graph.outputs[1:])
        return structs.replace(manifest, graphs=(structs.replace(graph, outputs=outputs), *manifest.graphs[1:]))

    rewrite(package, alter)
    assert "tensors: image_encoder_256" in failing(package)


def test_model_whose_own_tensors_differ_from_the_declared_ones_is_refused(package: Path) -> None:
    """The hashes fit and the manifest keeps to the contract, but the two graphs have changed places."""

    def swap(manifest: Manifest) -> Manifest:
        graphs = {graph.id: graph for graph in manifest.graphs}
        first, second = graphs["prompt_encoder"], graphs["token_gate"]
        graphs["prompt_encoder"] = structs.replace(
            second, id=first.id, graph=first.graph, size=first.size, inputs=first.inputs, outputs=first.outputs
        )
        graphs["token_gate"] = structs.replace(
            first, id=second.id, graph=second.graph, size=second.size, inputs=second.inputs, outputs=second.outputs
        )
        return structs.replace(manifest, graphs=tuple(graphs.values()))

    rewrite(package, swap)
    text = failing(package)
    assert "tensors: Sources/SAM2LiteModels/Models/token_gate.mlpackage inputs" in text
    assert "tensors: Sources/SAM2LiteModels/Models/prompt_encoder.mlpackage outputs" in text


def test_package_is_current_for_its_own_build_key_while_it_verifies(package: Path) -> None:
    key = read_manifest(package / MANIFEST_NAME).build_key
    assert is_current(package, key)
    assert not is_current(package, "0" * 64)
    assert not is_current(package.parent / "none", key)
    (package / "LICENSE").write_text("changed")
    assert not is_current(package, key)


def test_terminal_codes_in_a_package_are_shown_not_obeyed() -> None:
    assert printable("a\x1b[2Jb\u202ec") == "a\\x1b[2Jb\\u202ec"
    assert len(printable("x" * 10_000)) < 400
