"""Which precision each graph is computed in, per recipe."""

from __future__ import annotations

import hashlib
import json

from sam2lite_mobile import contract

HALF_GRAPHS = ("image_encoder", "mask_decoder", "memory_encoder", "token_gate")
"""Graphs in float16 under `fp16`. The prompt encoder stays in float32: its sines take angles up to 100 rad, which lose
0.03 rad in float16 (43.8 dB measured), and it is 29 KB run once a prompt."""


def graph_precision(recipe: str, graph: str) -> str:
    """`fp16` or `fp32`, the precision that a graph is converted in. Borders are float32 in either."""
    return "fp16" if recipe == "fp16" and graph in HALF_GRAPHS else "fp32"


def policy_sha256(recipe: str) -> str:
    """Hash of the policy of a recipe, for the manifest."""
    table = {graph: graph_precision(recipe, graph) for graph in contract.GRAPHS}
    return hashlib.sha256(json.dumps({"recipe": recipe, "graphs": table}, sort_keys=True).encode()).hexdigest()
