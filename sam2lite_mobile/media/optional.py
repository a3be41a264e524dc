"""Importing the optional media libraries, with the install line where one is missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from sam2lite_mobile.errors import MissingBackendError, explain


def import_media_library(name: str, *, purpose: str) -> ModuleType:
    """The module `name` (av, cv2, PIL.Image). Raises MissingBackendError if it cannot be imported.

    An ImportError counts as missing too: OpenCV raises it where a system library that it links to is absent.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingBackendError(
            explain(purpose, expected=name, got=str(error), do="pip install 'sam2lite-mobile[video]'")
        ) from error
