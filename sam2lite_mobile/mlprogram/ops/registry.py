"""How an operation is prepared: a builder turns its constant arguments into a kernel, once, when a program is loaded.

A builder receives a `Node` and returns a `Kernel`: a function on tensors and the operands to call it with. Nothing is
looked up by name while a program runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.mlprogram.package import Constant
from sam2lite_mobile.mlprogram.types import ValueType

Function = Callable[..., Tensor | tuple[Tensor, ...]]


@dataclass(frozen=True)
class Operand:
    """One argument of an operation: a constant, or the name of a value that exists only while running."""

    name: str
    type: ValueType
    constant: Constant | None = None


@dataclass(frozen=True)
class Kernel:
    """What runs: `function(*operands)` gives the operation's result, or a tuple of its results."""

    function: Function
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class Node:
    """One operation of a program while it is being prepared.

    `low_precision` asks for fp16 inside the operation (sums in chunks, softmax and norms step by step); `saturated`
    takes the number of results that an integer range cut off.
    """

    op: str
    name: str
    arguments: Mapping[str, tuple[Operand, ...]]
    results: tuple[ValueType, ...]
    low_precision: bool = False
    saturated: Callable[[int], None] = field(default=lambda count: None)

    def has(self, key: str) -> bool:
        """True where the optional argument `key` is given."""
        return key in self.arguments

    def operand(self, key: str) -> Operand:
        """The only operand of argument `key`."""
        found = self.operands(key)
        if len(found) != 1:
            raise self.refuse(key, "one value", f"{len(found)} values")
        return found[0]

    def operands(self, key: str) -> tuple[Operand, ...]:
        """Every operand of an argument that takes a list, such as `values` of concat."""
        if key not in self.arguments:
            raise self.refuse(key, "a value", "none")
        return self.arguments[key]

    def kernel(self, function: Function, *keys: str) -> Kernel:
        """A kernel that calls `function` with the values of these arguments, leaving out those that are not given."""
        return Kernel(function, tuple(self.operand(key) for key in keys if self.has(key)))

    def shape(self, key: str) -> tuple[int, ...]:
        """Declared shape of an argument; every axis must be known."""
        type_ = self.operand(key).type
        if not type_.is_static:
            raise self.refuse(key, "a static shape", str(type_))
        return type_.shape

    def rank(self, key: str) -> int:
        """Declared number of axes of an argument."""
        return len(self.operand(key).type.shape)

    def axis(self, key: str, *, of: str, default: int | None = None) -> int:
        """The constant axis `key` of tensor `of`, counted from the front."""
        return self.positive(self.integer(key, default), of=of)

    def positive(self, axis: int, *, of: str) -> int:
        """`axis` of tensor `of`, counted from the front. Raises PackageError outside its rank."""
        rank = self.rank(of)
        if not -rank <= axis < max(rank, 1):
            raise self.refuse("axis", f"an axis of rank {rank}", str(axis))
        return axis % rank if rank else 0

    def axes(self, key: str, *, of: str) -> tuple[int, ...]:
        """The constant axes `key` of tensor `of`, counted from the front; all of them where not given."""
        if not self.has(key):
            return tuple(range(self.rank(of)))
        return tuple(self.positive(axis, of=of) for axis in self.integers(key))

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Constant whole numbers, as a flat tuple."""
        if default is not None and not self.has(key):
            return default
        array = self._array(key)
        if array.dtype.kind not in "iub":
            raise self.refuse(key, "whole numbers", array.dtype.name)
        return tuple(int(v) for v in array.reshape(-1))

    def integer(self, key: str, default: int | None = None) -> int:
        """One constant whole number."""
        found = self.integers(key, None if default is None else (default,))
        if len(found) != 1:
            raise self.refuse(key, "one whole number", f"{len(found)}")
        return found[0]

    def number(self, key: str, default: float | None = None) -> float:
        """One constant number."""
        if default is not None and not self.has(key):
            return default
        array = self._array(key)
        if array.size != 1:
            raise self.refuse(key, "one number", f"{array.size}")
        return float(array.reshape(-1)[0])

    def flag(self, key: str, default: bool | None = None) -> bool:
        """One constant truth value."""
        return bool(self.integer(key, None if default is None else int(default)))

    def text(self, key: str, default: str | None = None, *, among: tuple[str, ...] = ()) -> str:
        """One constant string; PackageError unless it is `among` the given ones, where any are given."""
        if default is not None and not self.has(key):
            return default
        value = self.operand(key).constant
        if not isinstance(value, str) or (among and value not in among):
            raise self.refuse(key, f"one of {', '.join(among)}" if among else "a string", repr(value))
        return value

    def tensor(self, key: str) -> Tensor:
        """A constant tensor; floats as float32."""
        return to_tensor(self._array(key))

    def refuse(self, key: str, expected: str, got: str) -> PackageError:
        """The error for an argument that this operation cannot take."""
        return PackageError(
            explain(f"{self.op} {self.name}: {key}", expected=expected, got=got, do="convert without this form")
        )

    def _array(self, key: str) -> NDArray[Any]:
        value = self.operand(key).constant
        if not isinstance(value, np.ndarray):
            raise self.refuse(key, "a constant array", "a string" if isinstance(value, str) else "a running value")
        return value


Builder = Callable[[Node], Kernel]


@dataclass(frozen=True)
class Operation:
    """A known operation. `is_exact`: each result is one of the arguments' values, zero, or such a value with another
    sign, so rounding to a type that the arguments already have would change nothing. Only such operations may return
    a view of an argument.
    """

    name: str
    build: Builder
    is_exact: bool


OPERATIONS: dict[str, Operation] = {}
"""Every operation that a program may hold, by MIL name."""


def operation(*names: str, is_exact: bool = False) -> Callable[[Builder], Builder]:
    """Registers a builder under these MIL names."""

    def register(build: Builder) -> Builder:
        for name in names:
            OPERATIONS[name] = Operation(name, build, is_exact)
        return build

    return register


def to_tensor(array: NDArray[Any]) -> Tensor:
    """A tensor of its own: floats as float32, unsigned integers of 16 bits and more in the next wider signed type."""
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    elif array.dtype == np.uint16:
        array = array.astype(np.int32)
    elif array.dtype in (np.uint32, np.uint64):
        array = array.astype(np.int64)
    return torch.from_numpy(np.array(array))  # a copy: constants are views of a read-only file
