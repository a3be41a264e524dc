"""The manifest as text: canonical, strict, with a hash of itself and a schema."""

from __future__ import annotations

import hashlib
import json

import jsonschema
import pytest
from msgspec import structs

from sam2lite_mobile import contract
from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package.codec import decode_manifest, encode_manifest
from sam2lite_mobile.package.declare import build_key, contract_constants
from sam2lite_mobile.package.manifest import EXACT_MATCH_DB, finite_db
from sam2lite_mobile.package.schema import SCHEMA_PATH, manifest_schema
from tests.package.samples import draft, gates


def test_manifest_survives_encoding_and_decoding() -> None:
    data = encode_manifest(draft())
    manifest = decode_manifest(data)
    assert structs.replace(manifest, self_sha256=draft().self_sha256) == draft()
    assert encode_manifest(manifest) == data


def test_self_hash_is_that_of_the_text_with_the_hash_zeroed() -> None:
    data = encode_manifest(draft())
    digest = json.loads(data)["self_sha256"]
    assert hashlib.sha256(data.replace(digest.encode(), b"0" * 64)).hexdigest() == digest


def test_manifest_with_any_single_bit_flipped_is_refused() -> None:
    data = encode_manifest(structs.replace(draft(), gates=gates()[:1]))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PackageError, match=r"^manifest\.json"):
            decode_manifest(bytes(changed))


def test_order_of_tools_and_integer_limits_do_not_change_the_bytes() -> None:
    reordered = structs.replace(draft(), tools={"coremltools": "9.0", "torch": "2.13.0"})
    integers = structs.replace(draft(), gates=tuple(structs.replace(g, measured=60, limit=45) for g in gates()[:1]))
    floats = structs.replace(draft(), gates=gates()[:1])
    assert encode_manifest(reordered) == encode_manifest(draft())
    assert encode_manifest(integers) == encode_manifest(floats)


def test_reformatted_manifest_is_refused() -> None:
    """Another spelling of the same content, with a hash that fits it."""
    text = json.dumps(json.loads(encode_manifest(draft())))
    digest = json.loads(text)["self_sha256"]
    zeroed = text.replace(digest, "0" * 64)
    respelled = text.replace(digest, hashlib.sha256(zeroed.encode()).hexdigest())
    with pytest.raises(PackageError, match="expected the canonical text"):
        decode_manifest(respelled.encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b'{"manifest_version": "1"}', b"[" * 100_000])
def test_text_that_is_no_manifest_is_refused_with_a_message(data: bytes) -> None:
    with pytest.raises(PackageError, match=r"manifest\.json: expected a manifest of version 3"):
        decode_manifest(data)


def test_older_manifest_is_refused_with_the_advice_to_rebuild() -> None:
    with pytest.raises(PackageError, match="expected 3, got 0; build the package again"):
        decode_manifest(b'{"manifest_version": 0}')


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gate_without_a_finite_value_cannot_be_written(value: float) -> None:
    bad = structs.replace(gates()[0], measured=value)
    with pytest.raises(PackageError, match="image_encoder_256 features snr_db"):
        encode_manifest(structs.replace(draft(), gates=(bad,)))


def test_exact_match_has_a_finite_ratio() -> None:
    assert finite_db(float("inf")) == EXACT_MATCH_DB
    assert finite_db(61.5) == 61.5
    assert finite_db(float("nan")) != finite_db(float("nan"))


def test_value_that_breaks_the_schema_cannot_be_written() -> None:
    with pytest.raises(PackageError, match="checkpoint_sha256"):
        encode_manifest(structs.replace(draft(), checkpoint_sha256="abc"))


def test_every_numeric_constant_of_the_contract_is_exported() -> None:
    """A new constant in contract.py must be added to the manifest, or named here as not needed on a phone."""
    exported = structs.asdict(contract_constants())
    exported.update({f"label_{name}": value for name, value in structs.asdict(exported.pop("labels")).items()})
    constants = {
        name.lower(): value
        for name, value in vars(contract).items()
        if name.isupper() and not isinstance(value[0] if isinstance(value, tuple) else value, str)
    }
    assert exported == constants


def test_budget_of_the_package_is_exported_not_the_default() -> None:
    assert contract_constants(bank_tokens=128).bank_tokens == 128


def test_schema_in_the_repository_is_current() -> None:
    assert SCHEMA_PATH.read_bytes() == manifest_schema(), "run python -m sam2lite_mobile.package.schema"


def test_schema_accepts_the_manifest_and_refuses_what_decoding_refuses() -> None:
    schema = json.loads(manifest_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    content = json.loads(encode_manifest(draft()))
    jsonschema.validate(content, schema)
    for change in ({"extra": 1}, {"sizes": []}, {"package_version": "one"}, {"checkpoint_sha256": "x" * 64}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**content, **change}, schema)


def test_build_key_depends_on_every_input_and_not_on_their_order() -> None:
    assert build_key({"a": "1", "b": "2"}) == build_key({"b": "2", "a": "1"})
    assert len({build_key({"a": "1"}), build_key({"a": "2"}), build_key({"b": "1"}), build_key({})}) == 4
