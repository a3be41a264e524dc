"""The contract: graph names, tensor names, shapes, sizes and constants. Written once, here.

Every other module, every converter and both phone mirrors (through the manifest) read these values; none repeats
them. Axes: R input size in pixels, g = R / 16, D channels, T tokens a frame, B bank tokens, P prompt slots.
All tensors are float32 at the borders of a graph, batch 1, rank <= 4, static.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONTRACT_VERSION = 1

SIZES = (256, 304, 352, 416, 464, 512)
"""Input sizes R in pixels: 0.5 to 1.0 by 0.1 of 512, rounded to multiples of 16."""
FULL_SIZE = 512
STRIDE = 16
"""Pixels per side of an image token."""
MASK_STRIDE = 4
"""Pixels per side of a mask logit."""
CHANNELS = 256
DETAIL_4_CHANNELS = 32
DETAIL_8_CHANNELS = 64
MEMORY_GRID = 16
"""A frame is remembered on a 16 x 16 grid whatever R is, so that a token means the same place at every size."""
TOKENS_PER_FRAME = MEMORY_GRID * MEMORY_GRID
CELL_PATTERN = 4
"""A value carries the mask inside its cell as a 4 x 4 pattern."""
MASK_CHANNELS = 1 + CELL_PATTERN * CELL_PATTERN
"""The first channels of a value: the mask's mean over the cell, then the pattern, row by row."""
BANK_TOKENS = 384
BANK_TOKENS_MIN = 128
BANK_TOKENS_MAX = 512
PROMPT_SLOTS = 8
OBJECT_QUERIES = 100
MASKED = -1e4
"""Additive mask of an empty slot: exact enough in fp16 (largest value 65504), never -inf."""
MASK_PROMPT_LOGIT = 16.0
"""A mask given by the user becomes logits (2 m - 1) * 16, m in 0..1 its area average over a stride-4 cell."""
AGE_FRAMES = 128
"""memory_age = min(frames since the token was written, 128) / 128."""
WINDOW_MIN, WINDOW_MAX = 2, 8
"""Memory window in frames (methodology section 3.3)."""

LABEL_EMPTY, LABEL_BACKGROUND, LABEL_FOREGROUND, LABEL_BOX_TOP_LEFT, LABEL_BOX_BOTTOM_RIGHT = -1, 0, 1, 2, 3

GRAPHS = ("image_encoder", "prompt_encoder", "mask_decoder", "memory_encoder", "token_gate")
SIZED_GRAPHS = ("image_encoder", "mask_decoder", "memory_encoder")
"""Graphs that exist once per input size; the others exist once."""

SWIFT_MODELS_FOLDER = "Sources/SAM2LiteModels/Models"
"""Where an iOS package keeps its models, `<graph id>.mlpackage`."""
ONNX_MODELS_FOLDER = "models"
"""Where an ONNX package keeps its models, `<graph id>.onnx`, and the weights that they share."""
EXECUTORCH_MODELS_FOLDER = "models"
EXECUTORCH_PROGRAM = "sam2lite.pte"
"""Where an ExecuTorch package keeps its program, which has a method for every graph id."""
EXECUTORCH_SAMPLES = "samples.bpte"
"""Beside it, the same for the smallest size alone, with inputs and expected outputs to check a device with."""

TFLITE_MODEL = "models/sam2lite.tflite"
"""Where an Android package keeps its model: one file, a signature for every graph id."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, static shape and closed value range of a tensor at the border of a graph (dtype float32).

    `low` / `high` are None where the range is not bounded by the contract.
    """

    name: str
    shape: tuple[int, ...]
    meaning: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class GraphSpec:
    """One graph at one size: its id (`mask_decoder_512`, `token_gate`), inputs and outputs in call order."""

    id: str
    graph: str
    size: int | None
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def graph_id(graph: str, size: int) -> str:
    """Id of a graph at an input size: sized graphs end in the size, the others do not."""
    return f"{graph}_{size}" if graph in SIZED_GRAPHS else graph


def graph_spec(graph: str, size: int = FULL_SIZE, *, bank_tokens: int = BANK_TOKENS) -> GraphSpec:
    """Specification of `graph` at input size `size` for a bank of `bank_tokens` tokens.

    Raises ValueError for a graph, size or budget that the contract does not have.
    """
    if graph not in GRAPHS:
        raise ValueError(f"graph: expected one of {', '.join(GRAPHS)}, got {graph!r}")
    if size not in SIZES:
        raise ValueError(f"size: expected one of {SIZES}, got {size}")
    if not BANK_TOKENS_MIN <= bank_tokens <= BANK_TOKENS_MAX:
        raise ValueError(f"bank tokens: expected {BANK_TOKENS_MIN} to {BANK_TOKENS_MAX}, got {bank_tokens}")
    g, d, b, p, t = size // STRIDE, CHANNELS, bank_tokens, PROMPT_SLOTS, TOKENS_PER_FRAME
    m = size // MASK_STRIDE
    features = TensorSpec("features", (1, d, g, g), "image tokens on the stride-16 grid")
    detail_8 = TensorSpec("detail_8", (1, DETAIL_8_CHANNELS, size // 8, size // 8), "stride-8 detail map")
    detail_4 = TensorSpec("detail_4", (1, DETAIL_4_CHANNELS, m, m), "stride-4 detail map")
    prompt_tokens = TensorSpec("prompt_tokens", (1, p, d), "one token per prompt slot")
    prompt_mask = TensorSpec("prompt_mask", (1, p), "additive mask: 0, or -1e4 where the slot is empty", MASKED, 0)
    mask_logits = TensorSpec("mask_logits", (1, 1, m, m), "mask logits on the stride-4 grid; the mask is where > 0")
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    if graph == "image_encoder":
        inputs = (TensorSpec("image", (1, 3, size, size), "RGB frame stretched to R x R", 0, 255),)
        outputs = (features, detail_8, detail_4)
    elif graph == "prompt_encoder":
        inputs = (
            TensorSpec("points", (1, p, 2), "x, y as shares of the frame's width and height", 0, 1),
            TensorSpec("labels", (1, p), "-1 empty, 0 background, 1 foreground, 2 box top-left, 3 bottom-right", -1, 3),
        )
        outputs = (prompt_tokens, prompt_mask)
    elif graph == "mask_decoder":
        inputs = (
            features,
            detail_8,
            detail_4,
            TensorSpec("memory_keys", (1, b, d), "keys of the bank's tokens"),
            TensorSpec("memory_values", (1, b, d), "values of the bank's tokens; channels 0..16 hold the mask"),
            TensorSpec("memory_age", (1, b), "age in units of 128 frames", 0, 1),
            TensorSpec("memory_mask", (1, b), "additive mask: 0, or -1e4 where the slot is empty", MASKED, 0),
            TensorSpec("memory_anchor", (1, b), "1 for tokens of anchor frames, else 0", 0, 1),
            prompt_tokens,
            prompt_mask,
        )
        outputs = (
            mask_logits,
            TensorSpec("quality", (1, 1), "predicted IoU of the mask", 0, 1),
            TensorSpec("visibility", (1, 1), "logit: the object is in view where > 0"),
        )
    elif graph == "memory_encoder":
        inputs = (features, mask_logits)
        outputs = (
            TensorSpec("keys", (1, t, d), "keys, row by row over the 16 x 16 grid"),
            TensorSpec("values", (1, t, d), "values; channels 0..16 hold the mask in the cell"),
            TensorSpec("uncertainty", (1, t), "mean binary entropy of the mask in the cell, in bits", 0, 1),
        )
    else:
        n = b + t
        inputs = (
            TensorSpec("keys", (1, n, d), "keys of the bank's tokens, then of the new frame's"),
            TensorSpec("values", (1, n, d), "values in the same order"),
            TensorSpec("age", (1, n), "age in units of 128 frames", 0, 1),
            TensorSpec("motion", (1, n), "displacement as a share of the cell", 0, 1),
            TensorSpec("uncertainty", (1, n), "mean binary entropy in bits", 0, 1),
        )
        outputs = (TensorSpec("scores", (1, n), "importance; higher is kept first"),)
    return GraphSpec(graph_id(graph, size), graph, size if graph in SIZED_GRAPHS else None, inputs, outputs)


def all_graph_specs(sizes: tuple[int, ...] = SIZES, *, bank_tokens: int = BANK_TOKENS) -> tuple[GraphSpec, ...]:
    """Every graph of a package: sized graphs once per size, the others once, in a fixed order."""
    specs = []
    for graph in GRAPHS:
        for size in sizes if graph in SIZED_GRAPHS else (FULL_SIZE,):
            specs.append(graph_spec(graph, size, bank_tokens=bank_tokens))
    return tuple(specs)


def check_tensors(specs: tuple[TensorSpec, ...], tensors: dict[str, NDArray[np.float32]], *, where: str) -> None:
    """Raise ContractError unless `tensors` holds exactly `specs`: names, shapes, float32, finite values."""
    from sam2lite_mobile.errors import ContractError, explain

    names = {spec.name for spec in specs}
    if set(tensors) != names:
        raise ContractError(
            explain(f"{where} tensors", expected=sorted(names), got=sorted(tensors), do="pass exactly these names")
        )
    for spec in specs:
        array = tensors[spec.name]
        if array.shape != spec.shape or array.dtype != np.float32:
            raise ContractError(
                explain(
                    f"{where} {spec.name}",
                    expected=f"{spec.shape} float32",
                    got=f"{array.shape} {array.dtype}",
                    do="check the input size and the bank budget that the graphs were built for",
                )
            )
        if not np.isfinite(array).all():
            raise ContractError(
                explain(f"{where} {spec.name}", expected="finite values", got="NaN or infinity", do="drop this frame")
            )
