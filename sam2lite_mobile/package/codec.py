"""Manifest to bytes and back: one canonical text, strict decoding, a size limit, and a hash of itself."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.media.json_file import NOT_JSON
from sam2lite_mobile.package.manifest import MANIFEST_NAME, MANIFEST_VERSION, Manifest, gate_name
from sam2lite_mobile.package.tree import read_regular_file

MANIFEST_MAX_BYTES = 4 * 2**20
ZERO_SHA256 = "0" * 64

Kind = TypeVar("Kind", bound=Struct)


class _Header(Struct):
    """The one field that every version of the manifest has."""

    manifest_version: int


def encode_manifest(manifest: Manifest) -> bytes:
    """The canonical bytes of `manifest`, `self_sha256` filled in: indented JSON, fixed order, a final newline.

    Raises PackageError where a value breaks the schema (a NaN, a hash of the wrong length).
    """
    zeroed = msgspec.structs.replace(manifest, self_sha256=ZERO_SHA256)
    digest = hashlib.sha256(_canonical(zeroed)).hexdigest()
    return _canonical(msgspec.structs.replace(manifest, self_sha256=digest))


def decode_manifest(data: bytes, *, where: str = MANIFEST_NAME) -> Manifest:
    """The manifest in `data`.

    Raises PackageError, naming `where`, for text over MANIFEST_MAX_BYTES, a newer version, an unknown, missing or
    mistyped field, text that is not canonical, and a `self_sha256` that does not fit.
    """
    if len(data) > MANIFEST_MAX_BYTES:
        raise PackageError(
            explain(
                where,
                expected=f"at most {MANIFEST_MAX_BYTES} bytes",
                got=f"{len(data)} or more",
                do="this is no manifest of this toolkit: build the package again",
            )
        )
    version = _decode(data, _Header, where=where).manifest_version
    if version != MANIFEST_VERSION:
        newer = version > MANIFEST_VERSION
        raise PackageError(
            explain(
                f"{where} manifest_version",
                expected=MANIFEST_VERSION,
                got=version,
                do="upgrade sam2lite-mobile, which is older than the package"
                if newer
                else "build the package again with this version",
            )
        )
    manifest = _decode(data, Manifest, where=where)
    digest = hashlib.sha256(data.replace(manifest.self_sha256.encode(), ZERO_SHA256.encode())).hexdigest()
    if digest != manifest.self_sha256:
        raise PackageError(
            explain(
                f"{where} self_sha256",
                expected=manifest.self_sha256,
                got=digest,
                do="the manifest was changed after the build: take the package from its source again",
            )
        )
    if _canonical(manifest) != data:
        raise PackageError(
            explain(
                where,
                expected="the canonical text of its own content",
                got="another spelling of it",
                do="do not edit or reformat the manifest: build the package again",
            )
        )
    return manifest


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file `path`. Raises PackageError as decode_manifest does, and where it is no regular file."""
    return decode_manifest(read_regular_file(path, max_bytes=MANIFEST_MAX_BYTES + 1), where=path.name)


def _canonical(manifest: Manifest) -> bytes:
    """The text of the *decoded* manifest, so that 16 in a float field and 16.0 are the same bytes."""
    for gate in manifest.gates:
        if not (math.isfinite(gate.measured) and math.isfinite(gate.limit)):  # JSON would say null
            raise PackageError(
                explain(
                    f"gate {gate_name(gate)}",
                    expected="finite values",
                    got=f"measured {gate.measured}, limit {gate.limit}",
                    do="a NaN is a failed gate; write an exact match with finite_db",
                )
            )
    decoded = _decode(msgspec.json.encode(manifest), Manifest, where=MANIFEST_NAME)
    return msgspec.json.format(msgspec.json.encode(decoded, order="deterministic"), indent=2) + b"\n"


def _decode(data: bytes, kind: type[Kind], *, where: str) -> Kind:
    try:
        return msgspec.json.decode(data, type=kind)
    except NOT_JSON as error:
        raise PackageError(
            explain(
                where,
                expected=f"a manifest of version {MANIFEST_VERSION}",
                got=str(error),
                do="take the package from its source again, or build it again",
            )
        ) from error
