"""From a function of a package to a plan: constants decoded, operations prepared, lifetimes known.

A plan is a list of steps over numbered slots. Constants sit in their slots from the start; a step reads slots, calls
a kernel, rounds and checks its results, and empties the slots that nothing reads any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sam2lite_mobile.errors import PackageError, explain
from sam2lite_mobile.mlprogram.ops import OPERATIONS, Node, Operand, Operation, to_tensor
from sam2lite_mobile.mlprogram.ops.registry import Function
from sam2lite_mobile.mlprogram.package import Package
from sam2lite_mobile.mlprogram.precision import Events, Precision, rounding
from sam2lite_mobile.mlprogram.types import FP16, STRING, ValueType, value_type

MAX_OPERATIONS = 100_000

KERNEL_ERRORS = (RuntimeError, LookupError, ValueError, TypeError, ArithmeticError, AssertionError, MemoryError)
"""What a builder or kernel can raise on a malformed program; all become a PackageError that names the operation."""


@dataclass(frozen=True)
class Result:
    """One result of a step: where it goes, what it must be, and how it is rounded."""

    name: str
    slot: int
    type: ValueType
    round: Callable[[Tensor], Tensor] | None

    def check(self, value: Tensor) -> None:
        """Raises PackageError unless the value has the declared shape and kind."""
        if value.shape != self.type.shape or value.is_floating_point() != self.type.dtype.is_float:
            self._check_closely(value)

    def _check_closely(self, value: Tensor) -> None:
        shape = self.type.shape
        fits = len(shape) == value.dim() and all(a in (-1, b) for a, b in zip(shape, value.shape, strict=True))
        if not fits or value.is_floating_point() != self.type.dtype.is_float:
            raise PackageError(
                explain(
                    f"value {self.name}",
                    expected=str(self.type),
                    got=f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}",
                    do="the program contradicts itself, or this operation differs from Core ML's: report it",
                )
            )


@dataclass(frozen=True)
class Step:
    """One prepared operation."""

    op: str
    function: Function
    reads: tuple[int, ...]
    results: tuple[Result, ...]
    frees: tuple[int, ...] = ()

    def compute(self, slots: list[Any]) -> tuple[Tensor, ...]:
        """The rounded and checked results. Raises PackageError where the operation fails on its arguments."""
        try:
            value = self.function(*[slots[i] for i in self.reads])
        except KERNEL_ERRORS as error:
            raise broken_operation(self.op, self.results[0].name, error) from error
        values = value if isinstance(value, tuple) else (value,)
        if len(values) != len(self.results):
            raise broken_operation(
                self.op, self.results[0].name, f"{len(values)} results, {len(self.results)} declared"
            )
        rounded = []
        for result, x in zip(self.results, values, strict=True):
            result.check(x)
            rounded.append(x if result.round is None else result.round(x))
        return tuple(rounded)


@dataclass
class Plan:
    """Everything that running a function needs."""

    slots: list[Any] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    inputs: dict[str, Result] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    events: list[Events] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def broken_operation(op: str, name: str, reason: object) -> PackageError:
    """The error for an operation that cannot do what the program asks."""
    first_line = str(reason).strip().split("\n")[0]
    return PackageError(
        explain(f"operation {op} {name}", expected="arguments that fit", got=first_line, do="build the package again")
    )


def load(package: Package, function: str, precision: Precision) -> Plan:
    """The plan of `function`. Raises PackageError naming every unknown operation, or what is malformed."""
    block = package.block(function)
    counts = Counter(operation.type for operation in block.operations)
    unknown = {op: n for op, n in sorted(counts.items()) if op != "const" and op not in OPERATIONS}
    if unknown:
        listed = ", ".join(f"{op} ({n})" for op, n in unknown.items())
        raise PackageError(
            explain(
                f"{package.path.name}, function {function}",
                expected=f"operations among the {len(OPERATIONS)} known ones",
                got=f"unknown {listed}",
                do="rewrite the layer, or add the operation to sam2lite_mobile/mlprogram/ops",
            )
        )
    if len(block.operations) > MAX_OPERATIONS:
        raise PackageError(
            explain(function, expected=f"at most {MAX_OPERATIONS} operations", got=len(block.operations), do="split it")
        )
    return _Loader(package, function, precision).load(block)


class _Loader:
    def __init__(self, package: Package, function: str, precision: Precision) -> None:
        self._package = package
        self._function = function
        self._precision = precision
        self._plan = Plan()
        self._operands: dict[str, Operand] = {}
        self._slots: dict[str, int] = {}

    def load(self, block: Any) -> Plan:
        plan = self._plan
        for declared in self._package.function(self._function).inputs:
            type_ = value_type(declared.type, where=f"input {declared.name}")
            plan.inputs[declared.name] = self._result(declared.name, type_, op="input", in_place=True)
        with torch.no_grad():  # constants must not be inference tensors: they outlive the run
            for operation in block.operations:
                plan.counts[operation.type] += 1
                if operation.type == "const":
                    self._constant(operation)
                else:
                    self._operation(operation)
        for name in block.outputs:
            if name not in self._operands:
                raise broken_operation("output", name, "nothing produces it")
            plan.outputs[name] = self._slot(self._operands[name])
        plan.steps = list(_with_lifetimes(plan))
        return plan

    def _constant(self, operation: Any) -> None:
        if len(operation.outputs) != 1 or "val" not in operation.attributes:
            raise broken_operation("const", "", "no value")
        name = operation.outputs[0].name
        value = self._package.constant(operation.attributes["val"], where=name)
        self._define(Operand(name, value_type(operation.outputs[0].type, where=name), value))

    def _operation(self, message: Any) -> None:
        operation = OPERATIONS[message.type]
        if not message.outputs:
            raise broken_operation(operation.name, "", "no result")
        name = message.outputs[0].name
        types = tuple(value_type(out.type, where=out.name) for out in message.outputs)
        events = Events(name, operation.name)
        low = self._precision == "pessimistic" and any(t.dtype is FP16 for t in types)
        node = Node(operation.name, name, self._arguments(message, name), types, low, events.add_saturated)
        try:
            kernel = operation.build(node)
        except KERNEL_ERRORS as error:
            raise broken_operation(operation.name, name, error) from error
        self._plan.events.append(events)
        results = tuple(
            self._prepare(out.name, type_, operation, kernel.operands, events)
            for out, type_ in zip(message.outputs, types, strict=True)
        )
        step = Step(operation.name, kernel.function, tuple(self._slot(o) for o in kernel.operands), results)
        if all(operand.constant is not None for operand in kernel.operands):  # fold: it can only give one result
            for result, value in zip(results, step.compute(self._plan.slots), strict=True):
                self._plan.slots[result.slot] = value
                self._operands[result.name] = Operand(result.name, result.type, value.numpy())
        else:
            self._plan.steps.append(step)

    def _prepare(
        self, name: str, type_: ValueType, operation: Operation, operands: tuple[Operand, ...], events: Events
    ) -> Result:
        held = {operand.type.dtype.name for operand in operands if operand.type.dtype.is_float}
        if operation.is_exact and held <= {type_.dtype.name} and held:
            self._define(Operand(name, type_))
            return Result(name, self._slots[name], type_, None)
        return self._result(name, type_, op=operation.name, in_place=not operation.is_exact, events=events)

    def _result(self, name: str, type_: ValueType, *, op: str, in_place: bool, events: Events | None = None) -> Result:
        if type_.dtype is STRING:
            raise broken_operation(op, name, "a string as a running value")
        if events is None:
            events = Events(name, op)
            self._plan.events.append(events)
        self._define(Operand(name, type_))
        rounded = type_.dtype.is_float and self._precision != "fp32"
        function = rounding(type_.dtype, in_place=in_place, events=events) if rounded else None
        return Result(name, self._slots[name], type_, function)

    def _define(self, operand: Operand) -> None:
        if operand.name in self._operands:
            raise broken_operation("value", operand.name, "a second definition")
        self._operands[operand.name] = operand
        self._slots[operand.name] = self._new_slot(None)

    def _new_slot(self, value: Any) -> int:
        self._plan.slots.append(value)
        return len(self._plan.slots) - 1

    def _slot(self, operand: Operand) -> int:
        """The slot of an operand; a constant becomes a tensor when an operation first reads it."""
        slot = self._slots.get(operand.name) if operand.name else None
        if slot is None:
            slot = self._new_slot(None)
        if operand.constant is not None and self._plan.slots[slot] is None:
            if isinstance(operand.constant, str):
                raise broken_operation("value", operand.name, "a string where a tensor belongs")
            self._plan.slots[slot] = to_tensor(operand.constant)
        return slot

    def _arguments(self, message: Any, name: str) -> dict[str, tuple[Operand, ...]]:
        arguments = {
            key: tuple(self._binding(binding, f"{name}.{key}") for binding in argument.arguments)
            for key, argument in message.inputs.items()
        }
        for key, value in message.attributes.items():  # iOS 16 compressed constants have their parameters here
            if key != "name" and key not in arguments:
                where = f"{name}.{key}"
                constant = self._package.constant(value, where=where)
                arguments[key] = (Operand("", value_type(value.type, where=where), constant),)
        return arguments

    def _binding(self, binding: Any, where: str) -> Operand:
        if binding.WhichOneof("binding") == "value":
            constant = self._package.constant(binding.value, where=where)
            return Operand("", value_type(binding.value.type, where=where), constant)
        if binding.name not in self._operands:
            raise broken_operation("argument", where, f"{binding.name!r}, which nothing defines before")
        return self._operands[binding.name]


def _with_lifetimes(plan: Plan) -> Iterator[Step]:
    """The steps, each with the running values that it is the last to read."""
    kept = set(plan.outputs.values())
    last: dict[int, int] = {result.slot: -1 for result in plan.inputs.values()}
    for number, step in enumerate(plan.steps):
        last.update({result.slot: number for result in step.results})
        last.update({slot: number for slot in step.reads if plan.slots[slot] is None})
    for number, step in enumerate(plan.steps):
        candidates = {*step.reads, *(result.slot for result in step.results)}
        frees = tuple(sorted(slot for slot in candidates if last.get(slot) == number and slot not in kept))
        yield Step(step.op, step.function, step.reads, step.results, frees)
