"""The layouts of ExecuTorch packages: one program for all graphs and sizes, or one for each.

README.md  LICENSE  MODEL_CARD.md  manifest.json  manifest.schema.json
models/sam2lite.pte  models/samples.bpte    or    models/<graph id>.pte
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import structs

from sam2lite_mobile.contract import EXECUTORCH_MODELS_FOLDER, EXECUTORCH_PROGRAM, EXECUTORCH_SAMPLES
from sam2lite_mobile.package.declare import declare_graph
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.layout import required_specs, write_manifest
from sam2lite_mobile.package.manifest import SCHEMA_NAME, Manifest
from sam2lite_mobile.package.schema import manifest_schema
from sam2lite_mobile.package.tree import copy_file, list_files


def write_executorch_package(
    folder: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Manifest:
    """Lay out an ExecuTorch package in the empty `folder`; gives back the manifest that was written there.

    models: graph id -> a file beside the program that holds it, exactly the graphs that the contract has for
    `manifest.sizes`. Raises ContractError for other graph ids, PackageError for a program that cannot be read.
    """
    specs = required_specs(manifest, models)
    _write_frame(folder, readme=readme, model_card=model_card, licence=licence)
    for name in (EXECUTORCH_PROGRAM, EXECUTORCH_SAMPLES):
        copy_file(models[specs[0].id].with_name(name), folder / EXECUTORCH_MODELS_FOLDER / name)
    program = f"{EXECUTORCH_MODELS_FOLDER}/{EXECUTORCH_PROGRAM}"
    graphs = tuple(declare_graph(spec, folder, path=program, runtime="executorch") for spec in specs)
    return write_manifest(folder, structs.replace(manifest, graphs=graphs, files=list_files(folder)))


def write_executorch_programs(
    folder: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Manifest:
    """As `write_executorch_package`, of a runtime whose delegate has one program for each graph and size.

    models: graph id -> its program.
    """
    specs = required_specs(manifest, models)
    _write_frame(folder, readme=readme, model_card=model_card, licence=licence)
    paths = {spec.id: f"{EXECUTORCH_MODELS_FOLDER}/{spec.id}.pte" for spec in specs}
    for name, path in paths.items():
        copy_file(models[name], folder / path)
    graphs = tuple(declare_graph(spec, folder, path=paths[spec.id], runtime=manifest.runtime) for spec in specs)
    return write_manifest(folder, structs.replace(manifest, graphs=graphs, files=list_files(folder)))


def _write_frame(folder: Path, *, readme: Path, model_card: Path, licence: Path) -> None:
    """What is not a program, and the empty folder for programs."""
    for path, source in {"README.md": readme, "MODEL_CARD.md": model_card, "LICENSE": licence}.items():
        copy_file(source, folder / path)
    write_file(folder / SCHEMA_NAME, manifest_schema())
    (folder / EXECUTORCH_MODELS_FOLDER).mkdir()
