"""The graph in a program of the Vulkan delegate, read back from the file and computed operator by operator in torch.

No machine here runs the delegate's shaders. The file says all the same what they will be asked to do: operators by
name, their arguments, constants, the type of every tensor, and which tensors share memory. So the gates follow the
file, not the graph that it was made from: each operator is computed in float32 as ATen defines it, and its result is
rounded to the type that the file declares (*VkGraph reference semantics*). A tensor whose memory has been given to
another one by the time it is read is an error.

Of shaders that compute another formula than ATen, one is known and can be followed: GELU is the one with tanh whatever
the graph asks for (executorch/backends/vulkan/runtime/graph/ops/glsl/unary_op.yaml).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from executorch.backends.vulkan import custom_ops_lib  # noqa: F401 - defines the operators et_vk
from executorch.backends.vulkan.op_registry import vulkan_supported_ops
from executorch.backends.vulkan.serialization.vulkan_graph_serialize import (
    VulkanDelegateHeader,
    extract_vk_flatbuffer,
    flatbuffer_to_vk_graph,
)
from torch import Tensor

from sam2lite_mobile.errors import PackageError, explain

PREPACK = "et_vk.prepack.default"
"""Moves a constant to the device; not in the registry, because it is no operator of a model."""
_COPY = ("dim_order_ops._to_dim_order_copy.default", "dim_order_ops._clone_dim_order.default")
_TYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "INT8": torch.int8,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FLOAT16": torch.float16,
    "FLOAT32": torch.float32,
}


class VulkanGraph:
    """The graph in the delegate's data, with its constants from the program's named data.

    Raises PackageError for data that is no such graph, and for a constant whose bytes are not those of its name, which
    is their SHA-256.
    """

    def __init__(self, data: bytes, constants: Mapping[str, bytes], *, where: str) -> None:
        self._where = where
        try:
            if not VulkanDelegateHeader.from_bytes(data[: VulkanDelegateHeader.EXPECTED_LENGTH]).is_valid():
                raise ValueError("a header without a graph")
            self._graph: Any = flatbuffer_to_vk_graph(extract_vk_flatbuffer(data))
        except Exception as error:  # flatc, JSON and ExecuTorch's dataclasses each fail in their own way
            raise self._broken("a graph of the Vulkan delegate", str(error)[:200]) from error
        self._stored = constants
        self.constants: dict[int, Tensor] = {}
        for place, value in enumerate(self._graph.values):
            if _kind(value) == "VkTensor" and value.value.constant_id >= 0:
                self.constants[place] = self._constant(value.value)

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators in the order in which they run."""
        return tuple(call.name for call in self._graph.chain)

    @property
    def types(self) -> tuple[str, ...]:
        """Type of the first result of each operator, in the same order."""
        return tuple(self._first_type(self._graph.values[call.args[-1]].value) for call in self._graph.chain)

    def weights_of(self, place: int) -> str:
        """Type of the constant that is the second argument of the operator at `place`, "" where there is none."""
        call = self._graph.chain[place]
        source = self._origin(call.args[1]) if len(call.args) > 2 else -1
        return str(self._graph.values[source].value.datatype.name) if source in self.constants else ""

    def unknown_operators(self) -> list[str]:
        """Operators that the delegate's registry does not list, each once."""
        known = {PREPACK, *(_name(key) for key in vulkan_supported_ops)}
        return sorted(set(self.operators) - known)

    def run(self, inputs: Sequence[Tensor], *, shader_formulas: bool) -> list[Tensor]:
        """Outputs of the delegate for its inputs in order, float32. shader_formulas: GELU as the shader has it.

        Raises PackageError for an operator without a meaning, a result of another shape than the file declares, and a
        tensor that is read after its memory went to another one.
        """
        if len(inputs) != len(self._graph.input_ids):
            raise self._broken(f"{len(self._graph.input_ids)} inputs", str(len(inputs)))
        known: dict[int, Tensor] = dict(self.constants)
        owners: dict[int, int] = {}
        with torch.inference_mode():
            for place, tensor in zip(self._graph.input_ids, inputs, strict=True):
                self._write(place, tensor, known, owners)
            for call in self._graph.chain:
                arguments = [self._argument(place, known, owners) for place in call.args[:-1]]
                result = self._compute(call.name, arguments, shader_formulas)
                self._write(call.args[-1], result, known, owners)
            return [self._read(place, known, owners).float() for place in self._graph.output_ids]

    def _compute(self, name: str, arguments: list[Any], shader_formulas: bool) -> Any:
        if name in _COPY:
            return arguments[0]
        namespace, operator, overload = name.split(".")
        try:
            function = getattr(getattr(getattr(torch.ops, namespace), operator), overload)
            schema = function._schema.arguments
        except (AttributeError, RuntimeError) as error:
            raise self._broken("operators that torch knows", name) from error
        if name == "aten.gelu.default" and shader_formulas:
            arguments[1] = "tanh"
        given = {each.name: fitting(each, value) for each, value in zip(schema, arguments, strict=True)}
        placed = [given[each.name] for each in schema if not each.kwarg_only]
        named = {each.name: given[each.name] for each in schema if each.kwarg_only and given[each.name] is not None}
        return function(*placed, **named)

    def _argument(self, place: int, known: dict[int, Tensor], owners: dict[int, int]) -> Any:
        value = self._graph.values[place]
        kind = _kind(value)
        if kind == "VkTensor":
            return self._read(place, known, owners)
        if kind == "ValueList":
            return [self._argument(each, known, owners) for each in value.value.items]
        if kind == "Null":
            return None
        for field in ("items", "int_val", "double_val", "bool_val", "string_val", "value"):
            if hasattr(value.value, field):
                return getattr(value.value, field)
        raise self._broken("an argument of a known kind", kind)

    def _read(self, place: int, known: dict[int, Tensor], owners: dict[int, int]) -> Tensor:
        shared = self._graph.values[place].value.mem_obj_id
        if place not in known:
            raise self._broken("values that were computed before they are read", f"value {place}")
        if place not in self.constants and shared >= 0 and owners[shared] != place:
            raise self._broken(f"value {place} in its memory", f"value {owners[shared]}, which was written over it")
        return known[place]

    def _write(self, place: int, result: Any, known: dict[int, Tensor], owners: dict[int, int]) -> None:
        value = self._graph.values[place]
        if _kind(value) == "ValueList":
            for each, part in zip(value.value.items, result, strict=True):
                self._write(each, part, known, owners)
            return
        declared = value.value
        if list(result.shape) != list(declared.dims):
            raise self._broken(f"a result of shape {list(declared.dims)}", str(list(result.shape)))
        stored = _TYPES[declared.datatype.name]
        rounded = result.to(stored)
        known[place] = rounded.float() if stored.is_floating_point else rounded
        if declared.mem_obj_id >= 0:
            owners[declared.mem_obj_id] = place

    def _constant(self, declared: Any) -> Tensor:
        entry = self._graph.constants[declared.constant_id]
        stored = self._stored.get(entry.named_key, b"")
        if hashlib.sha256(stored).hexdigest() != entry.named_key:
            raise self._broken(f"the constant {entry.named_key[:12]}", "none, or other bytes")
        values = torch.frombuffer(bytearray(stored), dtype=_TYPES[declared.datatype.name])
        if values.numel() != torch.Size(declared.dims).numel():
            raise self._broken(f"a constant of shape {list(declared.dims)}", f"{values.numel()} numbers")
        values = values.reshape(declared.dims)
        return values.float() if values.dtype.is_floating_point else values

    def _origin(self, place: int) -> int:
        """The constant that was prepacked to be this value, or the value itself."""
        for call in self._graph.chain:
            if call.name == PREPACK and call.args[-1] == place:
                return int(call.args[0])
        return place

    def _first_type(self, value: Any) -> str:
        first = self._graph.values[value.items[0]].value if type(value).__name__ == "ValueList" else value
        return str(first.datatype.name)

    def _broken(self, expected: str, got: str) -> PackageError:
        return PackageError(
            explain(f"{self._where}: Vulkan graph", expected=expected, got=got, do="convert the graph again")
        )


def strange_constants(graph: VulkanGraph, tensors: Sequence[Tensor]) -> int:
    """How many constants of more than one number equal none of these tensors, rounded as the file has them."""
    own = _hashes(tensors)
    return sum(_hash(constant) not in own for constant in graph.constants.values() if constant.numel() > 1)


def missing_weights(graph: VulkanGraph, weights: Mapping[str, Tensor]) -> list[str]:
    """Names of the weights that no constant of the graph equals, rounded as the file has them."""
    held = {_hash(constant) for constant in graph.constants.values()}
    return [name for name, weight in weights.items() if not _hashes([weight]) & held]


def _hashes(tensors: Sequence[Tensor]) -> set[str]:
    """Hashes of the values in float32 and rounded to float16, as they are and transposed."""
    found = set()
    for tensor in tensors:
        values = tensor.detach().float()
        for each in (values, values.clamp(-65504.0, 65504.0).half().float()):
            found.add(_hash(each))
            if each.dim() == 2:
                found.add(_hash(each.t()))
    return found


def _hash(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()


def fitting(argument: Any, value: Any) -> Any:
    """A value as an operator takes it; `argument` is of its schema.

    The file has one entry for 0 and 0.0, which the delegate reads as either, and a bound that a clamp does not have is
    the largest float64, which is infinity in float32.
    """
    if isinstance(value, float) and abs(value) > torch.finfo(torch.float32).max:
        return math.copysign(math.inf, value)
    whole = isinstance(value, float) and value.is_integer() and str(argument.type) in ("int", "Optional[int]")
    return int(value) if whole else value


def _kind(value: Any) -> str:
    return type(value.value).__name__


def _name(key: Any) -> str:
    return key.replace("::", ".") + ".default" if isinstance(key, str) else str(getattr(key, "__name__", key))
