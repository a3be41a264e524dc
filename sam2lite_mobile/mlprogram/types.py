"""Data types and value types of the Model Intermediate Language (MIL.proto), as NumPy knows them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import PackageError, explain

MAX_ELEMENTS = 1 << 28
"""Largest tensor that a program may declare: 1 GiB as float32."""
MAX_RANK = 8


@dataclass(frozen=True)
class DType:
    """One element type: MIL's number and name, bits per element, and how its stored bits are read.

    `storage` is the dtype of whole-byte elements in a file; sub-byte elements are bit-packed and become int8 or uint8.
    """

    number: int
    name: str
    bits: int
    storage: np.dtype[Any]
    is_float: bool = False
    is_signed: bool = False


def _dtype(number: int, name: str, bits: int, storage: str, *, is_float: bool = False) -> DType:
    signed = is_float or name.startswith("int")
    return DType(number, name, bits, np.dtype(storage), is_float=is_float, is_signed=signed)


DTYPES = {
    dtype.number: dtype
    for dtype in (
        _dtype(1, "bool", 8, "?"),
        _dtype(2, "string", 0, "O"),
        _dtype(10, "fp16", 16, "<f2", is_float=True),
        _dtype(11, "fp32", 32, "<f4", is_float=True),
        _dtype(12, "fp64", 64, "<f8", is_float=True),
        _dtype(13, "bf16", 16, "<u2", is_float=True),
        _dtype(21, "int8", 8, "i1"),
        _dtype(22, "int16", 16, "<i2"),
        _dtype(23, "int32", 32, "<i4"),
        _dtype(24, "int64", 64, "<i8"),
        _dtype(25, "int4", 4, "i1"),
        _dtype(31, "uint8", 8, "u1"),
        _dtype(32, "uint16", 16, "<u2"),
        _dtype(33, "uint32", 32, "<u4"),
        _dtype(34, "uint64", 64, "<u8"),
        _dtype(35, "uint4", 4, "u1"),
        _dtype(36, "uint2", 2, "u1"),
        _dtype(37, "uint1", 1, "u1"),
        _dtype(38, "uint6", 6, "u1"),
        _dtype(39, "uint3", 3, "u1"),
    )
}
BY_NAME = {dtype.name: dtype for dtype in DTYPES.values()}
FP16, FP32, STRING = BY_NAME["fp16"], BY_NAME["fp32"], BY_NAME["string"]

BLOB_DTYPES = {
    number: BY_NAME[name]
    for number, name in enumerate(
        "fp16 fp32 uint8 int8 bf16 int16 uint16 int4 uint1 uint2 uint4 uint3 uint6 int32 uint32".split(), start=1
    )
}
"""weight.bin numbers its element types in its own way (MILBlob/Blob/BlobDataType.hpp), unlike MIL.proto."""


@dataclass(frozen=True)
class ValueType:
    """Declared dtype and shape of a tensor. An axis of unknown size is -1."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def is_static(self) -> bool:
        """True where every axis has a known size."""
        return -1 not in self.shape

    def __str__(self) -> str:
        return f"{self.dtype.name} {list(self.shape)}"


def value_type(message: Any, *, where: str) -> ValueType:
    """The declared type in a `ValueType` message. Raises PackageError for what is not a tensor of sane size."""
    kind = message.WhichOneof("type")
    if kind != "tensorType":
        raise PackageError(
            explain(f"type of {where}", expected="a tensor", got=kind or "nothing", do="convert without state or lists")
        )
    tensor = message.tensorType
    dtype = DTYPES.get(tensor.dataType)
    if dtype is None:
        raise PackageError(
            explain(
                f"element type of {where}",
                expected=", ".join(sorted(BY_NAME)),
                got=f"MIL data type {tensor.dataType}",
                do="convert with coremltools 9.0",
            )
        )
    shape = tuple(d.constant.size if d.WhichOneof("dimension") == "constant" else -1 for d in tensor.dimensions)
    if len(shape) > MAX_RANK or prod(max(size, 1) for size in shape) > MAX_ELEMENTS:
        raise PackageError(
            explain(
                f"shape of {where}",
                expected=f"at most {MAX_RANK} axes and {MAX_ELEMENTS} elements",
                got=list(shape),
                do="the package is broken: build it again",
            )
        )
    return ValueType(dtype, shape)


def decode(raw: NDArray[np.uint8], type_: ValueType, *, where: str) -> NDArray[Any]:
    """Little-endian bytes as an array of `type_.shape`: floats as stored (bf16 as float32), sub-byte integers as 8 bit.

    Raises PackageError unless `raw` holds exactly the bytes that the type asks for.
    """
    count = prod(type_.shape)
    want = -(-count * type_.dtype.bits // 8)
    if not type_.is_static or raw.size != want or type_.dtype is STRING:
        raise PackageError(
            explain(
                f"data of {where}",
                expected=f"{want} bytes for {type_}",
                got=f"{raw.size} bytes",
                do="the package is truncated or broken: build it again",
            )
        )
    if type_.dtype.bits < 8:
        return unpack_bits(raw, count=count, bits=type_.dtype.bits, signed=type_.dtype.is_signed).reshape(type_.shape)
    values: NDArray[Any] = raw.view(type_.dtype.storage)
    if type_.dtype.name == "bf16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(type_.shape)


def unpack_bits(raw: NDArray[np.uint8], *, count: int, bits: int, signed: bool = False) -> NDArray[Any]:
    """`count` integers of `bits` bits each as int8 (signed) or uint8; element 0 sits in the lowest bits of byte 0."""
    digits = np.unpackbits(raw, bitorder="little")[: count * bits].reshape(count, bits)
    values: NDArray[np.int16] = (digits.astype(np.int16) << np.arange(bits, dtype=np.int16)).sum(axis=1, dtype=np.int16)
    if signed:
        values = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
    narrow: NDArray[Any] = values.astype(np.int8 if signed else np.uint8)
    return narrow
