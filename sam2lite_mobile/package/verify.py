"""Whether a package is whole, unchanged, understood by this version, and passed its gates."""

from __future__ import annotations

from pathlib import Path

from sam2lite_mobile.errors import DataError, PackageError, explain
from sam2lite_mobile.package.checks_content import check_contract, check_gates, check_graphs
from sam2lite_mobile.package.checks_files import DEFAULT_LIMITS, PackageLimits, check_hashes, check_paths, check_tree
from sam2lite_mobile.package.codec import read_manifest
from sam2lite_mobile.package.files import recover_folder
from sam2lite_mobile.package.manifest import MANIFEST_NAME
from sam2lite_mobile.package.report import Check, VerifyReport, failed, passed

NOT_EXECUTED_NOTE = (
    "These files were not executed: nothing here runs their delegate. The gates followed what the files say, operator "
    "by operator, in torch. Run them on a device before you ship them."
)


def verify_package(folder: Path, *, limits: PackageLimits = DEFAULT_LIMITS) -> VerifyReport:
    """A report on the package in `folder`; `report.passed` is the verdict.

    The groups run in order (manifest, paths, tree, files, contract, graphs and tensors, gates), and a group that
    others stand on ends the report if it fails: nothing is opened by a path that was not checked, no graph is parsed
    whose hash does not fit. A publication that was interrupted between two renames is completed first.

    Hashes show damage and careless edits. Who can rewrite the folder can rewrite its manifest: get packages from a
    source that you trust.

    Raises DataError where there is no such folder, MissingBackendError without coremltools' protobuf classes.
    """
    recover_folder(folder)
    if not folder.is_dir():
        raise DataError(
            explain(str(folder), expected="a package folder", got="no such folder", do="check the path, or build it")
        )
    return VerifyReport(folder, tuple(_checks(folder, limits)), _notes(folder))


def is_current(folder: Path, build_key: str) -> bool:
    """True where `folder` holds a package of this build key that verifies: the build may be skipped."""
    recover_folder(folder)
    try:
        return read_manifest(folder / MANIFEST_NAME).build_key == build_key and verify_package(folder).passed
    except PackageError:
        return False


def _notes(folder: Path) -> tuple[str, ...]:
    """Said of a package whose files nothing could run."""
    try:
        executed = read_manifest(folder / MANIFEST_NAME).executed
    except PackageError:
        return ()
    return () if executed else (NOT_EXECUTED_NOTE,)


def _checks(folder: Path, limits: PackageLimits) -> list[Check]:
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
    except PackageError as error:
        return [
            failed(
                "manifest",
                MANIFEST_NAME,
                expected="a manifest that this version understands, unchanged since the build",
                got=error,
                do="follow the message; nothing else was looked at",
            )
        ]
    checks = [passed("manifest", MANIFEST_NAME, expected=f"a manifest of version {manifest.manifest_version}")]
    stages = (  # generators: none runs before the one in front of it passed
        check_paths(manifest, limits=limits),
        check_tree(folder, manifest, limits=limits),
        check_hashes(folder, manifest),
        check_contract(manifest),
    )
    for stage in stages:
        checks.extend(stage)
        if not all(check.passed for check in checks):
            return checks
    return [*checks, *check_graphs(folder, manifest), *check_gates(manifest)]
