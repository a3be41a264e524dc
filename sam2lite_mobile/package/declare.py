"""From the contract and a folder of converted graphs to a manifest: no constant, shape or hash is typed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from sam2lite_mobile import contract
from sam2lite_mobile.contract import GraphSpec
from sam2lite_mobile.package.codec import ZERO_SHA256
from sam2lite_mobile.package.interface import declare_tensors, read_interface
from sam2lite_mobile.package.manifest import (
    MANIFEST_VERSION,
    NOT_EXECUTED,
    Calibration,
    ContractConstants,
    Defaults,
    GateResult,
    GraphFile,
    Labels,
    Licence,
    Manifest,
    Precision,
    Runtime,
)
from sam2lite_mobile.package.tree import list_files, sha256_file, tree_sha256


def contract_constants(*, bank_tokens: int = contract.BANK_TOKENS) -> ContractConstants:
    """The constants of the contract for a package whose bank holds `bank_tokens` tokens."""
    return ContractConstants(
        contract_version=contract.CONTRACT_VERSION,
        sizes=contract.SIZES,
        full_size=contract.FULL_SIZE,
        stride=contract.STRIDE,
        mask_stride=contract.MASK_STRIDE,
        channels=contract.CHANNELS,
        detail_4_channels=contract.DETAIL_4_CHANNELS,
        detail_8_channels=contract.DETAIL_8_CHANNELS,
        memory_grid=contract.MEMORY_GRID,
        tokens_per_frame=contract.TOKENS_PER_FRAME,
        cell_pattern=contract.CELL_PATTERN,
        mask_channels=contract.MASK_CHANNELS,
        bank_tokens=bank_tokens,
        bank_tokens_min=contract.BANK_TOKENS_MIN,
        bank_tokens_max=contract.BANK_TOKENS_MAX,
        prompt_slots=contract.PROMPT_SLOTS,
        object_queries=contract.OBJECT_QUERIES,
        masked=contract.MASKED,
        mask_prompt_logit=contract.MASK_PROMPT_LOGIT,
        age_frames=contract.AGE_FRAMES,
        window_min=contract.WINDOW_MIN,
        window_max=contract.WINDOW_MAX,
        labels=Labels(
            empty=contract.LABEL_EMPTY,
            background=contract.LABEL_BACKGROUND,
            foreground=contract.LABEL_FOREGROUND,
            box_top_left=contract.LABEL_BOX_TOP_LEFT,
            box_bottom_right=contract.LABEL_BOX_BOTTOM_RIGHT,
        ),
    )


def declare_graph(spec: GraphSpec, folder: Path, *, path: str, runtime: Runtime) -> GraphFile:
    """The manifest entry of the folder or file at `folder / path`, which holds the graph `spec`.

    Raises PackageError where it cannot be read. Whether its interface is the contract's is for verification.
    """
    whole = folder / path
    files = list_files(whole) if whole.is_dir() else ()
    inputs, outputs = read_interface(whole, runtime, spec.id)
    return GraphFile(
        id=spec.id,
        graph=spec.graph,
        size=spec.size,
        path=path,
        tree_sha256=tree_sha256(files) if files else sha256_file(whole),
        bytes=sum(entry.bytes for entry in files) if files else whole.stat().st_size,
        files=files,
        inputs=declare_tensors(spec.inputs, inputs),
        outputs=declare_tensors(spec.outputs, outputs),
    )


def draft_manifest(
    *,
    package_name: str,
    package_version: str,
    runtime: Runtime,
    student_size: str,
    checkpoint_sha256: str,
    precision: Precision,
    sizes: tuple[int, ...],
    bank_tokens: int,
    defaults: Defaults,
    build_key: str,
    gates: tuple[GateResult, ...],
    calibration: Calibration | None,
    conformance_sha256: str | None,
    tools: Mapping[str, str],
    licences: tuple[Licence, ...],
) -> Manifest:
    """A manifest without files: what a converter knows before the package is laid out. publishing adds the rest."""
    return Manifest(
        manifest_version=MANIFEST_VERSION,
        self_sha256=ZERO_SHA256,
        package_name=package_name,
        package_version=package_version,
        runtime=runtime,
        executed=runtime not in NOT_EXECUTED,
        student_size=student_size,
        checkpoint_sha256=checkpoint_sha256,
        precision=precision,
        sizes=sizes,
        defaults=defaults,
        build_key=build_key,
        calibration=calibration,
        conformance_sha256=conformance_sha256,
        tools=dict(sorted(tools.items())),
        licences=licences,
        contract=contract_constants(bank_tokens=bank_tokens),
        gates=gates,
        graphs=(),
        files=(),
        copies=(),
    )


def build_key(inputs: Mapping[str, str]) -> str:
    """SHA-256 of named build inputs (hashes, versions, options), whatever their order: equal keys need no rebuild."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()
