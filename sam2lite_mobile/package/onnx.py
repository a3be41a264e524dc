"""The layout of an ONNX package: models that share one file of weights.

README.md  LICENSE  MODEL_CARD.md  manifest.json  manifest.schema.json
models/<graph id>.onnx  models/weights.bin
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from sam2lite_mobile.contract import ONNX_MODELS_FOLDER
from sam2lite_mobile.package.declare import declare_graph
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.layout import required_specs, write_manifest
from sam2lite_mobile.package.manifest import SCHEMA_NAME, Manifest
from sam2lite_mobile.package.onnx_models import WEIGHTS_NAME
from sam2lite_mobile.package.schema import manifest_schema
from sam2lite_mobile.package.tree import copy_file, list_files


def write_onnx_package(
    folder: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Manifest:
    """Lay out an ONNX package in the empty `folder`; gives back the manifest that was written there.

    models: graph id -> .onnx, exactly the graphs that the contract has for `manifest.sizes`, the weights beside each.
    Raises ContractError for other graph ids, PackageError for a model that cannot be read.
    """
    specs = required_specs(manifest, models)
    for path, source in {"README.md": readme, "MODEL_CARD.md": model_card, "LICENSE": licence}.items():
        copy_file(source, folder / path)
    write_file(folder / SCHEMA_NAME, manifest_schema())
    (folder / ONNX_MODELS_FOLDER).mkdir()
    copy_file(models[specs[0].id].with_name(WEIGHTS_NAME), folder / ONNX_MODELS_FOLDER / WEIGHTS_NAME)
    for spec in specs:
        copy_file(models[spec.id], folder / ONNX_MODELS_FOLDER / f"{spec.id}.onnx")
    graphs = tuple(
        declare_graph(spec, folder, path=f"{ONNX_MODELS_FOLDER}/{spec.id}.onnx", runtime="onnx") for spec in specs
    )
    return write_manifest(folder, structs.replace(manifest, graphs=graphs, files=list_files(folder)))
