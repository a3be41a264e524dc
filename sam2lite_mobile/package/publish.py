"""Put a package where apps take it from: complete, verified and in one step, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from sam2lite_mobile.errors import DataError, PackageError, explain
from sam2lite_mobile.package.files import staged_folder
from sam2lite_mobile.package.manifest import MANIFEST_NAME, Manifest
from sam2lite_mobile.package.swift import write_swift_package
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


class WritePackage(Protocol):
    """Lays out the package of a runtime in an empty folder, as `write_onnx_package` does."""

    def __call__(
        self,
        folder: Path,
        *,
        models: Mapping[str, Path],
        manifest: Manifest,
        readme: Path,
        model_card: Path,
        licence: Path,
    ) -> Manifest:
        """The manifest that was written there."""


def publish_models(
    target: Path,
    write: WritePackage,
    *,
    models: Mapping[str, Path],
    manifest: Manifest,
    readme: Path,
    model_card: Path,
    licence: Path,
) -> Path:
    """`target`, holding the package of a runtime that has no Swift package; as `publish_ios`.

    write: the runtime's layout; it says what `models` are. readme: what the package says about itself.
    """
    texts = {"readme": readme, "model_card": model_card, "licence": licence}
    _publish(target, lambda staging: write(staging, models=models, manifest=manifest, **texts))
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
