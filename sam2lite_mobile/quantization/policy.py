"""The quantization policy: a recipe's name to the precision of every layer and operation, as plain data.

Quantization-aware training and the converters ask the same policy, so that what is trained is what ships. A recipe's
name has one grammar:

    fp32 | fp16          every layer and operation in that float type
    w8                   8-bit weights, the rest in fp16
    w8a8                 8-bit weights and activations in convolutions and linear layers, the rest in fp16

with the exceptions of `rules.py`. Where a runtime has no 16-bit float, 32 takes its place.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from torch import nn

from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.quantization import int8
from sam2lite_mobile.quantization.rules import (
    EXCEPTIONS,
    FLOAT_OPERATIONS,
    FUSED_ACTIVATIONS,
    FloatOperation,
    FusedActivation,
    Precision,
    Rule,
)

RECIPES: tuple[Precision, ...] = ("fp32", "fp16", "w8", "w8a8")
BITS: dict[Precision, tuple[int, int]] = {"fp32": (32, 32), "fp16": (16, 16), "w8": (8, 16), "w8a8": (8, 8)}
"""Bits of weights and of activations; 16 and 32 are floats."""
RECIPE_NAME = re.compile(r"fp(?P<float>\d{1,2})|w(?P<weights>\d{1,2})(a(?P<activations>\d{1,2}))?")


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
    chosen = _checked_recipe(recipe)
    exceptions = tuple(Rule(e.pattern, e.precision, e.reason) for e in EXCEPTIONS if chosen in e.recipes)
    return Policy(chosen, (*exceptions, Rule(".*", chosen, "")))


def quantizable_layers(student: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers that a policy decides on, by module name, in the student's order."""
    return {name: layer for name, layer in student.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}


def policy_table(student: nn.Module, policy: Policy) -> tuple[PolicyRow, ...]:
    """One row for each layer of a student, in its order."""
    layers = quantizable_layers(student).items()
    return tuple(PolicyRow(policy.decide(name), layer.weight.numel()) for name, layer in layers)


def policy_hash(policy: Policy) -> str:
    """sha256 of the policy's canonical JSON, hexadecimal, for manifests. It changes with any rule, reason or format."""
    text = json.dumps(policy.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _checked_recipe(name: str) -> Precision:
    for recipe in RECIPES:
        if name == recipe:
            return recipe
    match = RECIPE_NAME.fullmatch(name)
    if match is None:
        got, do = (
            repr(name),
            "write fp and the bits of all, or w and the bits of weights, a and the bits of activations",
        )
    elif match["float"] is not None:
        got, do = f"{name}: a float of {match['float']} bits", "choose fp16 or fp32"
    elif match["weights"] != "8":
        got, do = f"{name}: weights of {match['weights']} bits", "choose w8 or w8a8"
    else:
        got, do = f"{name}: activations of {match['activations']} bits", "choose w8a8, or w8 for 16-bit activations"
    raise ContractError(explain("precision recipe", expected=f"one of {', '.join(RECIPES)}", got=got, do=do))
