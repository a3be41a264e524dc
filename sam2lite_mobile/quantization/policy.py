"""The quantization policy: a recipe's name to the precision of every layer and operation, as plain data.

Quantization-aware training and the converters ask the same policy, so that what is trained is what ships. Recipes have
names (`recipe_names.py`) and exceptions (`rules.py`). Where a runtime has no 16-bit float, 32 takes its place.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from torch import nn

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.recipe_names import BITS, Precision, checked_recipe
from sam2lite_mobile.quantization.rules import (
    EXCEPTIONS,
    FLOAT_OPERATIONS,
    FUSED_ACTIVATIONS,
    FloatOperation,
    FusedActivation,
    Rule,
)


@dataclass(frozen=True)
class LayerPrecision:
    """What the policy decides for one layer.

    layer: its module name in the student. exception: whether it differs from the recipe's own precision, and reason:
    why ("" where it does not).
    """

    layer: str
    precision: Precision
    exception: bool
    reason: str

    @property
    def weight_bits(self) -> int:
        """8 (integer), 16 or 32 (float)."""
        return BITS[self.precision][0]

    @property
    def activation_bits(self) -> int:
        """8 (integer), 16 or 32 (float): of the layer's input and of its output."""
        return BITS[self.precision][1]


@dataclass(frozen=True)
class PolicyRow:
    """One row of a table of the policy: a layer's precision and how many weights it holds, without the bias."""

    decision: LayerPrecision
    weights: int


@dataclass(frozen=True)
class Policy:
    """Rules of one recipe, tried in order: the first whose pattern is the whole name of a layer decides.

    The last rule takes every name, so each layer has exactly one deciding rule.
    """

    recipe: Precision
    rules: tuple[Rule, ...]
    operations: tuple[FloatOperation, ...] = FLOAT_OPERATIONS
    fused: tuple[FusedActivation, ...] = FUSED_ACTIVATIONS

    @property
    def float_bits(self) -> int:
        """Bits of the operations that are not layers."""
        return 32 if self.recipe == "fp32" else 16

    def deciding_rule(self, layer: str) -> int:
        """Index of the rule that decides a layer. Raises ContractError where no rule takes it."""
        for index, rule in enumerate(self.rules):
            if re.fullmatch(rule.pattern, layer):
                return index
        raise ContractError(
            explain(f"policy {self.recipe}", expected="a rule for every layer", got=layer, do="end with a rule for all")
        )

    def decide(self, layer: str) -> LayerPrecision:
        """The precision of a layer (Conv2d or Linear) by its module name, `image_encoder.blocks.0.mlp.0`."""
        rule = self.rules[self.deciding_rule(layer)]
        return LayerPrecision(layer, rule.precision, rule.precision != self.recipe, rule.reason)

    def fused_activation(self, layer: str) -> FusedActivation | None:
        """The activation that follows a layer at once and that integer kernels compute with it, or None."""
        return next((each for each in self.fused if re.fullmatch(each.pattern, layer)), None)

    def to_dict(self) -> dict[str, object]:
        """The whole policy as plain data, integer formats included: what `policy_hash` hashes."""
        return {
            "recipe": self.recipe,
            "float_bits": self.float_bits,
            "rules": [asdict(rule) for rule in self.rules],
            "operations": [asdict(operation) for operation in self.operations],
            "fused": [asdict(activation) for activation in self.fused],
            "weights": {"integers": [int8.WEIGHT_LOW, int8.WEIGHT_HIGH], "scales": "output channel", "symmetric": True},
            "activations": {
                "integers": [int8.ACTIVATION_LOW, int8.ACTIVATION_HIGH],
                "scales": "tensor",
                "symmetric": False,
            },
        }


def precision_policy(recipe: str) -> Policy:
    """The policy of a recipe by its name. Raises ContractError for a name that is malformed or not offered."""
    chosen = checked_recipe(recipe)
    exceptions = tuple(Rule(e.pattern, e.precision, e.reason) for e in EXCEPTIONS if chosen in e.recipes)
    return Policy(chosen, (*exceptions, Rule(".*", chosen, "")))


def quantizable_layers(student: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that a policy decides on, by module name, in the student's order."""
    return {name: layer for name, layer in student.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def policy_table(student: nn.Module, policy: Policy) -> tuple[PolicyRow, ...]:
    """One row for each layer of a student, in its order."""
    layers = quantizable_layers(student).items()
    return tuple(PolicyRow(policy.decide(name), layer.weight.numel()) for name, layer in layers)


def graph_precision(policy: Policy, student: nn.Module, graph: str) -> Precision:
    """The recipe that a whole graph can be converted in: that of its layers where they agree, else the policy's own."""
    precisions = {row.decision.precision for row in policy_table(student, policy) if _graph_of(row.decision) == graph}
    return precisions.pop() if len(precisions) == 1 else policy.recipe


def _graph_of(decision: LayerPrecision) -> str:
    return decision.layer.partition(".")[0]


def policy_hash(policy: Policy) -> str:
    """sha256 of the policy's canonical JSON, hexadecimal, for manifests. It changes with any rule, reason or format."""
    text = json.dumps(policy.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
