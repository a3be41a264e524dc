"""What the layouts of all packages share: the graphs that must be there, and the manifest that is written last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sam2lite_mobile import contract
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.package.codec import encode_manifest
from sam2lite_mobile.package.files import write_file
from sam2lite_mobile.package.manifest import MANIFEST_NAME, Manifest


def required_specs(manifest: Manifest, models: Mapping[str, Path]) -> tuple[GraphSpec, ...]:
    """The graphs of a package, in the contract's order. Raises ContractError where `models` has others."""
    specs = contract.all_graph_specs(manifest.sizes, bank_tokens=manifest.contract.bank_tokens)
    if set(models) != {spec.id for spec in specs}:
        raise ContractError(
            explain(
                "graphs of the package",
                expected=", ".join(spec.id for spec in specs),
                got=", ".join(sorted(models)) or "none",
                do="convert every graph at every size of the manifest",
            )
        )
    return specs


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write the manifest, and its copies, into a package that is complete but for them."""
    data = encode_manifest(manifest)
    for path in (MANIFEST_NAME, *manifest.copies):
        write_file(folder / path, data)
    return manifest
