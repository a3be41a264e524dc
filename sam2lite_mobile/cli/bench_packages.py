"""What `sam2lite bench --package` names: each folder's manifest says what runs it, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sam2lite_mobile.errors import ContractError, PackageError, explain

if TYPE_CHECKING:
    from sam2lite_mobile.evaluation.bench.opening import Package
    from sam2lite_mobile.package.manifest import Manifest


def open_package(folder: Path) -> Package:
    """What a benchmark needs to know of a package.

    Raises ContractError for a path that is no folder, PackageError for one without a manifest that this version
    understands, or of a runtime that no engine here is for.
    """
    from sam2lite_mobile.engines import ENGINES
    from sam2lite_mobile.evaluation.bench.opening import Package
    from sam2lite_mobile.evaluation.bench.subjects import Variant
    from sam2lite_mobile.package.codec import read_manifest
    from sam2lite_mobile.package.manifest import MANIFEST_NAME

    if not folder.is_dir():
        raise ContractError(
            explain("--package", expected="a folder that `python -m converters` wrote", got=folder, do="build it")
        )
    manifest = read_manifest(folder / MANIFEST_NAME)
    if manifest.runtime not in ENGINES:
        raise PackageError(
            explain(f"runtime of {folder}", expected=" or ".join(ENGINES), got=manifest.runtime, do="choose another")
        )
    return Package(
        folder=folder,
        variant=Variant(manifest.student_size, manifest.runtime, manifest.precision.recipe),
        sizes=tuple(sorted(manifest.sizes)),
        bank_tokens=manifest.contract.bank_tokens,
        disk_bytes=_model_bytes(manifest),
        checkpoint_sha256=manifest.checkpoint_sha256,
    )


def _model_bytes(manifest: Manifest) -> int:
    """Bytes of the models of a package: its graphs, each file once, and what they share.

    A folder of models holds nothing but models and their weights, save ExecuTorch's samples, which are for checks.
    """
    from sam2lite_mobile.contract import EXECUTORCH_SAMPLES

    graphs = {graph.path: graph.bytes for graph in manifest.graphs}
    folders = {path.rpartition("/")[0] for path in graphs}
    shared = {
        file.path: file.bytes
        for file in manifest.files
        if file.path.rpartition("/")[0] in folders and not file.path.endswith(EXECUTORCH_SAMPLES)
    }
    return sum((graphs | shared).values())


def chosen_sizes(package: Package, sizes: Sequence[int], *, all_needed: bool) -> tuple[int, ...]:
    """Those of the wanted sizes that a package was built for, in the order wanted.

    all_needed: the user named them. Raises ContractError if one of them, or else all of them, is missing.
    """
    found = tuple(size for size in sizes if size in package.sizes)
    if not found or (all_needed and len(found) < len(sizes)):
        missing = ", ".join(str(size) for size in sizes if size not in package.sizes)
        raise ContractError(
            explain(
                f"--sizes for {package.folder}",
                expected=" or ".join(map(str, package.sizes)),
                got=missing,
                do="name a size that the package was built for, or build it with --sizes",
            )
        )
    return found
