"""Names of precision recipes, by one grammar wherever a recipe is named: training, converters, packages, engines.

    fp32 | fp16          every layer and operation in that float type
    w8                   8-bit weights, the rest in fp16
    w8a8                 8-bit weights and activations in convolutions and linear layers, the rest in fp16
    p6 | p4              weights from palettes of 64 or 16 values, one palette a layer, the rest in fp16

What a recipe means for each layer is the policy's to say (`policy.py`).
"""

from __future__ import annotations

import re
from typing import Literal

from sam2lite_mobile.errors import ContractError, explain

Precision = Literal["fp32", "fp16", "w8", "w8a8", "p6", "p4"]
RECIPES: tuple[Precision, ...] = ("fp32", "fp16", "w8", "w8a8", "p6", "p4")
BITS: dict[Precision, tuple[int, int]] = {
    "fp32": (32, 32),
    "fp16": (16, 16),
    "w8": (8, 16),
    "w8a8": (8, 8),
    "p6": (6, 16),
    "p4": (4, 16),
}
"""Bits of weights and of activations; 16 and 32 are floats, 6 and 4 the places in a palette."""
RECIPE_NAME = re.compile(
    r"fp(?P<float>\d{1,2})|w(?P<weights>\d{1,2})(a(?P<activations>\d{1,2}))?|p(?P<palette>\d{1,2})"
)


def checked_recipe(name: str) -> Precision:
    """The recipe of a name. Raises ContractError for one that is malformed or not offered."""
    for recipe in RECIPES:
        if name == recipe:
            return recipe
    match = RECIPE_NAME.fullmatch(name)
    if match is None:
        got, do = (
            repr(name),
            "write fp and the bits of all, or w and the bits of weights, a and activations' bits, or p and a palette's",
        )
    elif match["float"] is not None:
        got, do = f"{name}: a float of {match['float']} bits", "choose fp16 or fp32"
    elif match["palette"] is not None:
        got, do = f"{name}: a palette of {match['palette']} bits", "choose p6 or p4"
    elif match["weights"] != "8":
        got, do = f"{name}: weights of {match['weights']} bits", "choose w8 or w8a8"
    else:
        got, do = f"{name}: activations of {match['activations']} bits", "choose w8a8, or w8 for 16-bit activations"
    raise ContractError(explain("precision recipe", expected=f"one of {', '.join(RECIPES)}", got=got, do=do))
