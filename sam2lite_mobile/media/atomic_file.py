"""Writing a small file so that a reader sees the old one or the new one, whenever the writer is interrupted."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sam2lite_mobile.errors import DataError, explain


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` at `path`: a temporary file in the same folder, flushed to the disk, then renamed.

    Raises DataError if the folder cannot be written to; a failed write leaves no temporary file behind.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o644)  # a temporary file is for its owner alone; a result is not a secret
                os.replace(file.name, path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise DataError(
            explain(str(path), expected="a place to write", got=error.strerror, do="choose another path")
        ) from error
