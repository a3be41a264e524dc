"""Put a package where apps take it from: complete, verified and in one step, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from sam2lite_mobile.errors import DataError, PackageError, explain
from sam2lite_mobile.package.executorch import write_executorch_package, write_executorch_programs
from sam2lite_mobile.package.files import staged_folder
from sam2lite_mobile.package.manifest import MANIFEST_NAME, Manifest
from sam2lite_mobile.package.onnx import write_onnx_package
from sam2lite_mobile.package.swift import write_swift_package
from sam2lite_mobile.package.tflite import write_tflite_package
from sam2lite_mobile.package.verify import verify_package

_FAILURES_SHOWN = 5


def publish_ios(
    target: Path, *, models: Mapping[str, Path], manifest: Manifest, model_card: Path, licence: Path
) -> Path:
    """`target`, holding the iOS package: assembled beside it, verified there, then exchanged with the old package.

    models: graph id -> canonical .mlpackage for every graph at every size of `manifest.sizes`; manifest: from
    `draft_manifest`. The same inputs give the same bytes. Whatever goes wrong, and whenever, the old package stays
    as it was (see `files`).

    Raises PackageError where verification fails (a missed gate included), a model is not canonical, or the disk
    refuses; ContractError for missing or unknown graphs; DataError where `target` is something else than a package.
    """
    _publish(
        target,
        lambda staging: write_swift_package(
            staging, models=models, manifest=manifest, model_card=model_card, licence=licence
        ),
    )
    return target


def publish_onnx(
    target: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Path:
    """`target`, holding the ONNX package; as `publish_ios`.

    models: graph id -> .onnx for every graph at every size of `manifest.sizes`, their weights in one file beside them.
    """
    _publish(
        target,
        lambda staging: write_onnx_package(
            staging, models=models, manifest=manifest, readme=readme, model_card=model_card, licence=licence
        ),
    )
    return target


def publish_executorch(
    target: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Path:
    """`target`, holding the ExecuTorch package; as `publish_ios`.

    models: graph id -> a file beside the program that holds the graph, for every graph at every size of
    `manifest.sizes`.
    """
    _publish(
        target,
        lambda staging: write_executorch_package(
            staging, models=models, manifest=manifest, readme=readme, model_card=model_card, licence=licence
        ),
    )
    return target


def publish_executorch_programs(
    target: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Path:
    """`target`, holding an ExecuTorch package with one program for each graph; as `publish_ios`.

    models: graph id -> its program, for every graph at every size of `manifest.sizes`.
    """
    _publish(
        target,
        lambda staging: write_executorch_programs(
            staging, models=models, manifest=manifest, readme=readme, model_card=model_card, licence=licence
        ),
    )
    return target


def publish_tflite(
    target: Path, *, models: Mapping[str, Path], manifest: Manifest, readme: Path, model_card: Path, licence: Path
) -> Path:
    """`target`, holding the TFLite package; as `publish_ios`.

    models: graph id -> .tflite for every graph at every size of `manifest.sizes`, the model of all beside them.
    """
    _publish(
        target,
        lambda staging: write_tflite_package(
            staging, models=models, manifest=manifest, readme=readme, model_card=model_card, licence=licence
        ),
    )
    return target


def _publish(target: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a folder beside the target, verify it, and exchange it with what was there."""
    _refuse_other_folders(target)
    try:
        with staged_folder(target) as staging:
            write(staging)
            _require_verified(staging, target)
    except OSError as error:
        raise PackageError(
            explain(
                f"writing {target}",
                expected="room and permission to write",
                got=error.strerror or str(error),
                do="free space on the disk or choose another folder; the package that was there is unchanged",
            )
        ) from error


def _require_verified(staging: Path, target: Path) -> None:
    failures = verify_package(staging).failures
    if not failures:
        return
    shown = "; ".join(
        f"{check.what}: expected {check.expected}, got {check.got}" for check in failures[:_FAILURES_SHOWN]
    )
    more = f" and {len(failures) - _FAILURES_SHOWN} more" if len(failures) > _FAILURES_SHOWN else ""
    raise PackageError(
        explain(
            f"package for {target}",
            expected="every check of `sam2lite verify` to pass",
            got=f"{len(failures)} failed: {shown}{more}",
            do="nothing was written",
        )
    )


def _refuse_other_folders(target: Path) -> None:
    """Publishing removes what it replaces: never a folder that is not a package."""
    if target.is_dir() and any(target.iterdir()) and not (target / MANIFEST_NAME).is_file():
        raise DataError(
            explain(
                str(target),
                expected=f"a package (with {MANIFEST_NAME}), an empty folder or nothing",
                got="a folder with other files",
                do="choose another folder, or empty this one",
            )
        )
