"""An output folder that appears at once: written beside its place under another name, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam2lite_mobile.errors import DataError, explain


@contextmanager
def staged_folder(target: Path, *, overwrite: bool, known_names: frozenset[str]) -> Iterator[Path]:
    """A new empty folder beside `target` that takes its place when the block ends, and vanishes if the block raises.

    `target` must not exist or be empty; with `overwrite` it may hold entries called `known_names` and nothing else,
    so that a mistyped path cannot delete a folder of something else. Raises DataError where that does not hold.
    """
    _check_target(target, overwrite=overwrite, known_names=known_names)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    except OSError as error:
        raise DataError(
            explain(f"output {target}", expected="a place to write", got=error.strerror, do="choose another folder")
        ) from error
    try:
        staged.chmod(0o777 & ~_umask())
        yield staged
        _check_target(target, overwrite=overwrite, known_names=known_names)
        _replace(staged, target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _check_target(target: Path, *, overwrite: bool, known_names: frozenset[str]) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise DataError(
            explain(f"output {target}", expected="a folder", got="a file or a link", do="choose another name")
        )
    found = {entry.name for entry in target.iterdir()} if target.exists() else set()
    if found and not overwrite:
        raise DataError(
            explain(f"output {target}", expected="a new or empty folder", got="files", do="add --overwrite or move it")
        )
    if strange := sorted(found - known_names):
        raise DataError(
            explain(
                f"output {target}",
                expected=f"nothing but {', '.join(sorted(known_names))}",
                got=strange[0],
                do="choose another folder: this one holds something else",
            )
        )


def _replace(staged: Path, target: Path) -> None:
    """Move `staged` to `target`. The old folder is set aside first and put back if the move fails."""
    aside = staged.with_name(f"{staged.name}.old")
    if target.exists():
        os.rename(target, aside)
    try:
        os.rename(staged, target)
    except OSError:
        if aside.exists():
            os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    """The mask of new files: mkdtemp makes folders that only their owner can read, and the result is not a secret."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
