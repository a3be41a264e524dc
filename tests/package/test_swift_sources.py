"""The Swift sources against the manifest that they read; they are parsed where a Swift compiler is at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from sam2lite_mobile.package import manifest
from sam2lite_mobile.package.templates import repository_root, swift_sources

SOURCES = repository_root() / "ios_demo" / "Sources" / "SAM2LiteModels"


def camel(name: str) -> str:
    """As JSONDecoder's convertFromSnakeCase spells a key."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def swift_fields(struct: str) -> list[tuple[str, str]]:
    text = (SOURCES / "Manifest.swift").read_text()
    body = re.search(rf"    public struct {struct}: Codable, Sendable \{{(.*?)^    \}}", text, re.DOTALL | re.MULTILINE)
    assert body is not None, struct
    return re.findall(r"public let (\w+): (\S+)", body.group(1))


@pytest.mark.parametrize(
    "struct", ["Precision", "Defaults", "ContractConstants", "Labels", "GateResult", "GraphFile", "FileEntry", "Tensor"]
)
def test_swift_reads_every_field_under_its_name_and_knows_which_may_be_null(struct: str) -> None:
    fields = msgspec.structs.fields(getattr(manifest, struct))
    expected = {camel(field.name): type(None) in get_args(field.type) for field in fields}
    assert {name: kind.endswith("?") for name, kind in swift_fields(struct)} == expected


def test_swift_understands_the_manifest_version_that_python_writes() -> None:
    text = (SOURCES / "Manifest.swift").read_text()
    assert f"supportedVersion = {manifest.MANIFEST_VERSION}\n" in text


def test_swift_knows_every_compute_unit_of_the_schema() -> None:
    units = msgspec.structs.fields(manifest.Defaults)[2].type.__args__
    text = (SOURCES / "SAM2LiteModels.swift").read_text()
    assert set(units) - {"all"} == set(re.findall(r'case "(\w+)":', text))


def test_apple_frameworks_are_guarded_so_that_the_package_builds_elsewhere() -> None:
    for path in SOURCES.glob("*.swift"):
        text = path.read_text()
        for framework in re.findall(r"^import (\w+)$", text, re.MULTILINE):
            if framework != "Foundation":
                assert text.startswith(f"#if canImport({framework})\n"), path.name


def test_readme_names_only_what_the_sources_have() -> None:
    readme = (repository_root() / "ios_demo" / "README.md").read_text()
    text = "".join(path.read_text() for path in SOURCES.glob("*.swift"))
    for function in re.findall(r"SAM2LiteModels\.(\w+)\(", readme):
        assert f"public static func {function}(" in text
    for argument in ("sizes", "computeUnits"):
        assert f"{argument}:" in readme
        assert re.search(rf"\b{argument}: ", text)


def test_every_swift_source_parses() -> None:
    swiftc = shutil.which("swiftc")
    if swiftc is None:
        pytest.skip("no swiftc on the PATH: install a Swift toolchain to parse the sources")
    sources: list[Path] = [path for path in swift_sources().values() if path.suffix == ".swift"]
    for path in sources:
        done = subprocess.run([swiftc, "-parse", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
