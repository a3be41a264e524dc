"""Result files: a struct as readable JSON, written whole, and read only if it is of that struct and not too large."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.media.atomic_file import replace_file

Content = TypeVar("Content")
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for a text that is no JSON, breaks a schema, is no UTF-8, or is nested too deep."""


def write_json(path: Path, content: object) -> None:
    """Write a struct as JSON; the old file or the new one is there, whenever interrupted. Raises DataError."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def read_json(path: Path, kind: type[Content], *, max_bytes: int, expected: str, do: str) -> Content:
    """The struct in a file. expected, do: for the message about one that is not such a file.

    Raises DataError if it is missing, over `max_bytes`, no JSON, or breaks the schema of `kind`.
    """
    if not path.is_file():
        raise DataError(explain(str(path), expected=expected, got="no such file", do=do))
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise DataError(explain(str(path), expected=f"at most {max_bytes} bytes", got=size, do=do))
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, *NOT_JSON) as error:
        raise DataError(explain(str(path), expected=expected, got=str(error), do=do)) from error
