"""The layout of an iOS package: a SwiftPM package whose one target loads the Core ML models that it carries.

    Package.swift  README.md  LICENSE  MODEL_CARD.md  manifest.json  manifest.schema.json
    Sources/SAM2LiteModels/*.swift                    the loader, copied from ios_demo/
    Sources/SAM2LiteModels/Models/manifest.json       the same bytes: SwiftPM takes resources from the target only
    Sources/SAM2LiteModels/Models/<graph id>.mlpackage

The models are one `.copy` resource. `.process` would leave them to the build: Xcode compiles .mlpackage files, the
command line's SwiftPM does not, and a compiled model has other bytes than the manifest's. Copied, the app holds exactly
what was measured; it checks the hashes and compiles each model at first use, on the device that runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from sam2lite_mobile import contract
from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.package.canonical import canonicalize_mlpackage
from sam2lite_mobile.package.declare import declare_graph
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.layout import required_specs, write_manifest
from sam2lite_mobile.package.manifest import MANIFEST_NAME, SCHEMA_NAME, Manifest
from sam2lite_mobile.package.schema import manifest_schema
from sam2lite_mobile.package.templates import swift_sources
from sam2lite_mobile.package.tree import copy_file, copy_folder, list_files, tree_sha256

MODELS = contract.SWIFT_MODELS_FOLDER


def write_swift_package(
    folder: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
) -> Manifest:
    """Lay out an iOS package in the empty `folder`; gives back the manifest that was written there.

    models: graph id -> .mlpackage, exactly the graphs that the contract has for `manifest.sizes`, in canonical form.
    `graphs`, `files` and `copies` of `manifest` are filled in from what lies in the folder. Raises ContractError for
    other graph ids, PackageError for a package that is not canonical, DataError without a repository checkout.
    """
    specs = required_specs(manifest, models)
    for path, source in {**swift_sources(), "MODEL_CARD.md": model_card, "LICENSE": licence}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        copy_file(source, folder / path)
    write_file(folder / SCHEMA_NAME, manifest_schema())
    files = list_files(folder)
    (folder / MODELS).mkdir()
    graphs = []
    for spec in specs:
        path = f"{MODELS}/{spec.id}.mlpackage"
        _copy_canonical(models[spec.id], folder / path)
        graphs.append(declare_graph(spec, folder, path=path, runtime="coreml"))
    manifest = structs.replace(manifest, graphs=tuple(graphs), files=files, copies=(f"{MODELS}/{MANIFEST_NAME}",))
    return write_manifest(folder, manifest)


def _copy_canonical(source: Path, target: Path) -> None:
    """Copy a .mlpackage; refuse one that is not canonical: other bytes would ship than those that were measured."""
    copy_folder(source, target)
    before = tree_sha256(list_files(target))
    after = canonicalize_mlpackage(target)
    if before != after:
        raise PackageError(
            explain(
                str(source),
                expected=f"canonical bytes (tree {after})",
                got=f"tree {before}",
                do="call canonicalize_mlpackage before the gates run, so that what is measured is what ships",
            )
        )
