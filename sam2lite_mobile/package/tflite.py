"""The layout of a TFLite package: one model with a signature for every graph and size.

README.md  LICENSE  MODEL_CARD.md  manifest.json  manifest.schema.json
models/sam2lite.tflite
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from sam2lite_mobile.contract import TFLITE_MODEL
from sam2lite_mobile.package.declare import declare_graph
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.layout import required_specs, write_manifest
from sam2lite_mobile.package.manifest import SCHEMA_NAME, Manifest
from sam2lite_mobile.package.schema import manifest_schema
from sam2lite_mobile.package.tree import copy_file, list_files


def write_tflite_package(
    folder: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Manifest:
    """Lay out a TFLite package in the empty `folder`; gives back the manifest that was written there.

    models: graph id -> a file beside which the model of all lies, for exactly the graphs that the contract has for
    `manifest.sizes`. Raises ContractError for other graph ids, PackageError for a model that cannot be read.
    """
    specs = required_specs(manifest, models)
    for path, source in {"README.md": readme, "MODEL_CARD.md": model_card, "LICENSE": licence}.items():
        copy_file(source, folder / path)
    write_file(folder / SCHEMA_NAME, manifest_schema())
    target = folder / TFLITE_MODEL
    target.parent.mkdir()
    copy_file(models[specs[0].id].with_name(target.name), target)
    graphs = tuple(declare_graph(spec, folder, path=TFLITE_MODEL, runtime="tflite") for spec in specs)
    return write_manifest(folder, structs.replace(manifest, graphs=graphs, files=list_files(folder)))
