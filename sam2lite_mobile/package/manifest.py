"""The manifest of a package, as data: what it holds, what it was built from and what its gates measured.

`manifest.json` is the only description of a package; Swift, Kotlin and `sam2lite verify` read the same file. Decoding
is strict: every field must be there, none may be added. A change of meaning raises MANIFEST_VERSION.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct

MANIFEST_VERSION = 3
MANIFEST_NAME = "manifest.json"
SCHEMA_NAME = "manifest.schema.json"

Runtime = Literal["coreml", "onnx", "tflite", "executorch", "executorch_coreml", "executorch_vulkan"]
"""What runs the graphs of a package; ExecuTorch by its delegate, XNNPACK where none is named."""
NOT_EXECUTED: frozenset[Runtime] = frozenset({"executorch_vulkan"})
"""Runtimes whose files no machine of ours can execute: their packages say `executed` false."""
DELEGATED: Mapping[Runtime, tuple[str, ...]] = {
    "executorch_coreml": ("delegate_calls", "operations_outside", "interface_faults"),
    "executorch_vulkan": (
        "delegate_calls",
        "operations_outside",
        "interface_faults",
        "unknown_operators",
        "missing_weights",
        "strange_constants",
    ),
}
"""Runtimes with one program for each graph, and what is counted in each program as it lies on disk."""
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64, description="SHA-256, hex")]
Name = Annotated[str, Meta(pattern="^[a-z0-9_]+$", max_length=64)]
Text = Annotated[str, Meta(min_length=1, max_length=500)]
Version = Annotated[str, Meta(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+[0-9A-Za-z.+-]*$", max_length=64)]
RelativePath = Annotated[str, Meta(min_length=1, max_length=240, description="relative, parts joined by '/'")]
ByteCount = Annotated[int, Meta(ge=0, le=2**40)]
SizePx = Annotated[int, Meta(ge=16, le=8192)]
Shape = Annotated[tuple[Annotated[int, Meta(ge=1, le=2**20)], ...], Meta(min_length=1, max_length=4)]


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every object in the manifest: immutable, no field beyond the declared ones, none left out.

    Subclasses repeat `frozen`, which type checkers ask for; build them by keyword.
    """


class FileEntry(Entry, frozen=True):
    """One file: its path, SHA-256 and length."""

    path: RelativePath
    sha256: Sha256
    bytes: ByteCount


class Tensor(Entry, frozen=True):
    """One input or output of a graph file, as the phone's runtime sees it.

    `kind` is `array` (float32, axes as in `shape`, row-major) or `image` (8-bit RGB pixel buffer that the runtime turns
    into `shape` [1,3,height,width] with values 0..255). `low` / `high` are null where the range is not bounded.
    """

    name: Name
    kind: Literal["array", "image"]
    shape: Shape
    dtype: Literal["float32", "uint8"]
    low: float | None
    high: float | None
    meaning: Text


class GraphFile(Entry, frozen=True):
    """One graph at one size: the folder (.mlpackage) or file (.onnx, .tflite) that holds it, and its interface.

    `files` are those of the folder, paths inside it, and `tree_sha256` stands for all of them (`tree.tree_sha256`), so
    that an app can name a compiled copy after it. A graph in a file of its own has no `files`: the file is among those
    of the manifest, `tree_sha256` is its SHA-256. A .tflite file holds all graphs, each as the signature `id`.
    `size` is null for graphs that exist once for all sizes.
    """

    id: Name
    graph: Name
    size: SizePx | None
    path: RelativePath
    tree_sha256: Sha256
    bytes: ByteCount
    files: tuple[FileEntry, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Labels(Entry, frozen=True):
    """Values of the prompt encoder's `labels`."""

    empty: int
    background: int
    foreground: int
    box_top_left: int
    box_bottom_right: int


class ContractConstants(Entry, frozen=True):
    """The constants of `sam2lite_mobile.contract` that phone code needs; `bank_tokens` is this package's own budget."""

    contract_version: int
    sizes: tuple[int, ...]
    full_size: int
    stride: int
    mask_stride: int
    channels: int
    detail_4_channels: int
    detail_8_channels: int
    memory_grid: int
    tokens_per_frame: int
    cell_pattern: int
    mask_channels: int
    bank_tokens: int
    bank_tokens_min: int
    bank_tokens_max: int
    prompt_slots: int
    object_queries: int
    masked: float
    mask_prompt_logit: float
    age_frames: int
    window_min: int
    window_max: int
    labels: Labels


class GateResult(Entry, frozen=True):
    """One measured value beside its limit.

    `kind` `graph`: `graph` is a graph id, `tensor` one of its outputs, `clip` is null. `kind` `clip`: a chained clip
    or several, at input size `size`; `graph` and `tensor` are null. `kind` `lowering`: what was counted in the program
    of `graph`, without running it; `tensor` and `clip` are null. `measured` is finite: an exact match, whose
    signal-to-noise ratio has no finite value, is written as EXACT_MATCH_DB.
    """

    kind: Literal["graph", "clip", "lowering"]
    graph: Name | None
    tensor: Name | None
    clip: Text | None
    size: SizePx | None
    measure: Name
    measured: float
    bound: Literal["at_least", "at_most"]
    limit: float
    passed: bool
    precision: Name
    engine: Text


class Precision(Entry, frozen=True):
    """Recipe (`fp16`, `w8a8`, ...) and the hash of the policy that says which layers it applies to."""

    recipe: Name
    policy_sha256: Sha256


class Calibration(Entry, frozen=True):
    """The frames that activation ranges were measured on, and the seed that chose them."""

    source: Text
    frames: Annotated[int, Meta(ge=1)]
    seed: int


class Licence(Entry, frozen=True):
    """A part of the package and the SPDX expression that it is under."""

    part: Text
    spdx: Text


class Defaults(Entry, frozen=True):
    """What an app starts with unless it knows better."""

    size: SizePx
    window: Annotated[int, Meta(ge=1)]
    compute_units: Literal["all", "cpu_and_neural_engine", "cpu_and_gpu", "cpu_only"]


class Manifest(Entry, frozen=True):
    """Everything that `manifest.json` says.

    `self_sha256` is the SHA-256 of the file with the 64 digits of `self_sha256` replaced by zeros: it shows damage, and
    is no signature. `files` lists every file outside the graphs except the manifest itself and its `copies`, which
    are byte-identical to it. `build_key` hashes the inputs of the build: an equal key needs no rebuild. `executed` is
    false where no machine of the build could run the files: its gates then followed what the files say, in another
    runtime (`engine` of each result), and an app should not take the package for one that ran.
    """

    manifest_version: int
    self_sha256: Sha256
    package_name: Annotated[str, Meta(pattern="^[a-z0-9-]+$", max_length=64)]
    package_version: Version
    runtime: Runtime
    executed: bool
    student_size: Name
    checkpoint_sha256: Sha256
    precision: Precision
    sizes: Annotated[tuple[SizePx, ...], Meta(min_length=1, max_length=32)]
    defaults: Defaults
    build_key: Sha256
    calibration: Calibration | None
    conformance_sha256: Sha256 | None
    tools: Mapping[Annotated[str, Meta(min_length=1, max_length=100)], Text]
    licences: tuple[Licence, ...]
    contract: ContractConstants
    gates: tuple[GateResult, ...]
    graphs: tuple[GraphFile, ...]
    files: tuple[FileEntry, ...]
    copies: tuple[RelativePath, ...]


SNR_DB = "snr_db"
"""Measure of a graph's output: 10 log10(sum ref^2 / sum (ref - out)^2) against PyTorch in float32."""
WORST_MASK_IOU = "worst_mask_iou"
"""Measure of a chained clip: IoU of the masks of both engines on the worst frame, each fed with its own memory."""
MEDIAN_MASK_IOU = "median_mask_iou"
"""The same on the median frame."""
JF_LOST = "jf_lost_points"
"""Measure of a chained clip: J&F of PyTorch less J&F of the package, in points of 100, over annotated sequences."""
EXACT_MATCH_DB = 200.0
"""Stands for the infinite signal-to-noise ratio of an exact match: JSON has no infinity; float32 ends near 150 dB."""


def finite_db(snr_db: float) -> float:
    """A signal-to-noise ratio in dB that JSON can hold: at most EXACT_MATCH_DB (NaN stays NaN and is refused later)."""
    return EXACT_MATCH_DB if snr_db > EXACT_MATCH_DB else snr_db


def gate_name(gate: GateResult) -> str:
    """How a gate is named in messages: graph and tensor, or clip and size; then measure and precision."""
    subject = f"{gate.clip} at {gate.size} px" if gate.kind == "clip" else f"{gate.graph} {gate.tensor or 'program'}"
    return f"{subject} {gate.measure} ({gate.precision})"
