"""A manifest as a converter drafts it, for a package of every graph at one small size."""

from __future__ import annotations

from msgspec import structs

from sam2lite_mobile import contract
from sam2lite_mobile.package.declare import build_key, draft_manifest
from sam2lite_mobile.package.manifest import (
    JF_LOST,
    SNR_DB,
    WORST_MASK_IOU,
    Calibration,
    Defaults,
    GateResult,
    Licence,
    Manifest,
    Precision,
    finite_db,
)

SIZES = (256,)


def gates(measured_db: float = 60.0) -> tuple[GateResult, ...]:
    """One result for each output of each graph and one clip, all within their limits."""
    results = [
        GateResult(
            kind="graph",
            graph=spec.id,
            tensor=tensor.name,
            clip=None,
            size=spec.size,
            measure=SNR_DB,
            measured=finite_db(measured_db),
            bound="at_least",
            limit=45.0,
            passed=True,
            precision="fp16",
            engine="ML Program reference semantics",
        )
        for spec in contract.all_graph_specs(SIZES)
        for tensor in spec.outputs
    ]
    for size in SIZES:
        results.append(
            GateResult(
                kind="clip",
                graph=None,
                tensor=None,
                clip="sample clip, 24 frames",
                size=size,
                measure=WORST_MASK_IOU,
                measured=0.997,
                bound="at_least",
                limit=0.95,
                passed=True,
                precision="fp16",
                engine="ML Program reference semantics",
            )
        )
    lost = structs.replace(results[-1], measure=JF_LOST, measured=0.02, bound="at_most", limit=0.1)
    return (*results, lost)


def draft(*, package_version: str = "1.2.0", results: tuple[GateResult, ...] | None = None) -> Manifest:
    return draft_manifest(
        package_name="sam2lite-ios",
        package_version=package_version,
        runtime="coreml",
        student_size="tiny",
        checkpoint_sha256="a" * 64,
        precision=Precision(recipe="fp16", policy_sha256="b" * 64),
        sizes=SIZES,
        bank_tokens=contract.BANK_TOKENS,
        defaults=Defaults(size=256, window=4, compute_units="all"),
        build_key=build_key({"checkpoint": "a" * 64, "coremltools": "9.0"}),
        gates=gates() if results is None else results,
        calibration=Calibration(source="sample clip", frames=24, seed=7),
        conformance_sha256=None,
        tools={"torch": "2.13.0", "coremltools": "9.0"},
        licences=(Licence(part="code", spdx="Apache-2.0"),),
    )
