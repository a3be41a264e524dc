"""The exceptions of the quantization policy, with what was measured, and what follows the layers.

Measured with the shipped Nano student at 256 px, range of each call: one layer at a time (or one group) in int8, the
signal-to-noise ratio in dB of what it feeds, on three frames of the sample clip with real memory. "features" are the
image encoder's, "logits" the tracked mask's.

With the rules below: logits 43.7 dB in `w8` and 40.4 in `w8a8`. J&F of the six dev sequences (first 30 frames, 256 px,
mask prompt): 81.28 in fp32, 81.32 in w8, 81.47 in w8a8 with the range of each call, 81.34 with ranges fixed on 8 frames
of each of four training sequences, and 81.25 with fixed ranges and every layer in int8. J&F over 180 frames does not
tell these apart: the exceptions rest on the signal-to-noise ratios, and on what they cost, 8 % of Nano's weights.

`sam2lite sensitivity` ranks the layers over a tracked clip, where errors go through memory: docs/sensitivity_w8a8.json
(rhino, a training sequence held out for choosing, 8 frames, 256 px). Eight of its first twelve layers are exceptions
here. All layers together leave 21.7 dB of the logits, the rules 33.2. Two sequences (rhino, bear): 34.8 dB and a worst
frame of 0.986 IoU with the rules; 36.8 and 0.992 with patches.blocks.[23] in fp16 too, 37.7 and 0.996 with the whole
stem. These convolutions stay in int8 all the same: they work on the largest maps, where integers save most.
"""

from __future__ import annotations

from dataclasses import dataclass

from sam2lite_mobile.quantization.recipe_names import Precision


@dataclass(frozen=True)
class Rule:
    """A precision for the layers whose whole module name a regular expression matches, and why."""

    pattern: str
    precision: Precision
    reason: str


@dataclass(frozen=True)
class ExceptionRule:
    """A rule of some recipes, tried before the recipe's own precision. The order of `EXCEPTIONS` counts."""

    recipes: tuple[Precision, ...]
    pattern: str
    precision: Precision
    reason: str


@dataclass(frozen=True)
class FloatOperation:
    """A kind of operation that is no layer and stays in the recipe's float type, and why."""

    operation: str
    reason: str


@dataclass(frozen=True)
class FusedActivation:
    """An activation that follows the matching layers at once; its output lies in [low, high], None = no bound."""

    pattern: str
    activation: str
    low: float
    high: float | None


EXCEPTIONS = (
    ExceptionRule(
        ("fp16", "w8", "w8a8", "p6", "p4"),
        r"prompt_encoder\..*",
        "fp32",
        "its sines take angles up to 100 rad: 43.8 dB in fp16; 29 KB, run once a prompt",
    ),
    ExceptionRule(
        ("w8", "w8a8", "p6", "p4"),
        r"image_encoder\.patches\.(stem|patch_\d+)",
        "fp16",
        "first layer, reads pixels: its int8 weights alone leave 31.8 dB of the features; 0.9 K weights",
    ),
    ExceptionRule(
        ("w8", "w8a8", "p6", "p4"),
        r"image_encoder\.patches\.blocks\.[01]\..*",
        "fp16",
        "edge filters, whose terms cancel (blocks.0.depthwise: 9.6 times their sum, and 91 % of what rounding its "
        "weights does is an offset): its int8 weights alone leave 23.6 dB of the features, those of blocks.1.project "
        "32.5; with the stem and both blocks in fp16 the logits of w8 rise from 34.9 to 43.7 dB; 5.5 K weights",
    ),
    ExceptionRule(
        ("p6", "p4"),
        r"image_encoder\.patches\..*",
        "w8",
        "a palette serves a whole layer, and the channels of depthwise convolutions differ much in size: 8.0 dB of the "
        "features in p6",
    ),
    ExceptionRule(
        ("w8a8",),
        r"image_encoder\.exit",
        "fp16",
        "last layer of the encoder: its output is matched by cosine; 35.3 dB of the features in int8",
    ),
    ExceptionRule(
        ("w8a8",),
        r"mask_decoder\.read_(anchors|recent)\.content",
        "fp16",
        "memory read: cosines times 60 are the argument of a softmax",
    ),
    ExceptionRule(
        ("w8a8",),
        r"memory_encoder\..*",
        "fp16",
        "what it writes is read for many frames, and learned.0 takes features beside a mask of 0..1 in one range: int8 "
        "leaves 38.6 dB of the keys, 27.4 of the values and 34.5 of the next logits; in fp16 w8a8 rises from 31.7 to "
        "40.1 dB",
    ),
    ExceptionRule(
        ("w8a8",),
        r"mask_decoder\.(quality|visibility)\..*",
        "fp16",
        "head of one number that is compared with a threshold; 33 K weights, one token",
    ),
    ExceptionRule(
        ("w8a8",),
        r"mask_decoder\.score",
        "fp16",
        "argument of the softmax in which the queries compete; 256 weights",
    ),
    ExceptionRule(
        ("w8a8",),
        r"mask_decoder\.(embedding\.2|head\.out)",
        "fp16",
        "last layers, whose product is the mask: 45.0 (embedding.2) and 50.0 dB (head.out) of the logits in int8",
    ),
    ExceptionRule(
        ("w8", "w8a8", "p6", "p4"),
        r"token_gate\..*",
        "fp16",
        "its scores are compared with each other; as it starts, a term of the place scatters what its rule calls "
        "equal, and int8 weights alone leave 9.5 dB of the scores; 74 K weights",
    ),
)
"""Left in int8 after trying: patches.blocks.[23] (in fp16, features of w8a8 28.4 to 31.8 dB, logits no better) and
image_encoder.enter (28.1 to 28.4 dB). `w8` needs no more than its four: any other layer's int8 weights leave 40 dB or
more of the features (patches.blocks.3.project 36.3), and 54 dB or more of the logits behind the encoder."""

FLOAT_OPERATIONS = (
    FloatOperation("attention products", "products of two activations, of which neither has a range known beforehand"),
    FloatOperation("memory reads", "cosines times a temperature of about 60, and the weighted sums of the values"),
    FloatOperation("softmax", "its outputs span many orders of magnitude"),
    FloatOperation("normalisation", "variances and reciprocal roots; with these and attention in int8 too, 1.6 dB"),
    FloatOperation("residual sums", "int8 would round the whole stream at every layer"),
    FloatOperation("activation functions", "GELU, sigmoid, exponential, logarithm; a ReLU is fused with its layer"),
    FloatOperation("resampling", "bilinear maps, pooling and placing by constant matrices, of masks above all"),
)
"""The 1.6 dB are a decoder with random weights, every operation in int8 in TFLite."""

FUSED_ACTIVATIONS = (
    FusedActivation(r"image_encoder\.patches\.stem", "relu6", 0, 6),
    FusedActivation(r"image_encoder\.patches\.blocks\.\d+\.(expand|depthwise)", "relu6", 0, 6),
    FusedActivation(r"mask_decoder\.head\.mix_[48]", "relu", 0, None),
    FusedActivation(r"token_gate\.hidden_[12]", "relu", 0, None),
)
