"""The JSON Schema of the manifest, generated from the structs.

`python -m sam2lite_mobile.package.schema` writes it to manifest.schema.json beside this file.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import msgspec

from sam2lite_mobile.package.manifest import MANIFEST_VERSION, SCHEMA_NAME, Manifest

SCHEMA_PATH = Path(__file__).with_name(SCHEMA_NAME)


def manifest_schema() -> bytes:
    """The schema (JSON Schema 2020-12) as indented JSON with a final newline; the same bytes for the same structs."""
    schema = msgspec.json.schema(Manifest)
    for definition in schema["$defs"].values():
        definition["description"] = inspect.cleandoc(definition["description"])
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"SAM2-Lite mobile package manifest, version {MANIFEST_VERSION}",
    }
    return (json.dumps({**head, **schema}, indent=2) + "\n").encode()


def main() -> None:
    """Write the schema beside this file."""
    from sam2lite_mobile.package.files import write_file

    write_file(SCHEMA_PATH, manifest_schema())


if __name__ == "__main__":
    main()
