"""The peer: EdgeTAM (Zhou et al. 2025, arXiv 2501.07256) in its own code and configuration, with random weights.

The package `edgetam-dimos` holds EdgeTAM's code and `configs/edgetam.yaml` as they are published: RepViT-M1 with a
feature pyramid, two layers of memory attention over seven frames of 512 perceiver tokens and sixteen object pointers
of four tokens, 1024 px. Nothing is downloaded.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sam2lite_mobile.errors import DataError, MissingBackendError, explain
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.clocks import ZERO, Stopwatch, now
from sam2lite_mobile.evaluation.bench.subjects import PEER, TOTAL, FrameTimes, SubjectFacts
from sam2lite_mobile.media.optional import import_media_library
from sam2lite_mobile.runtime.engine import EngineDescription

CONFIGURATION = "configs/edgetam.yaml"
PARAMETERS = 13_895_794
"""Of that configuration: the published 13.9 M."""
BANK_TOKENS = 3648
"""Of a full bank: 7 x 512 perceiver tokens and 16 pointers of 4 tokens."""
POINTER_FRAMES = 16
"""Frames until the bank is full; outputs that are older are never read again."""
IMAGE_MEAN, IMAGE_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""EdgeTAM's own normalisation (sam2/utils/misc.py)."""
STAGES = {
    "image_encoder": "image_encoder",
    "memory_attention": "memory_attention",
    "sam_mask_decoder": "mask_decoder",
    "memory_encoder": "memory_encoder",
    "spatial_perceiver": "memory_encoder",
}
"""Modules of the model, and the part that their time counts to."""
SCOPE = (
    "one frame with one object and a full bank, from a decoded frame (uint8) to the mask at the frame's size, in "
    "EdgeTAM's own eager code in float32; rest: resizing, prompt encoder, pointers and glue"
)


class EdgeTam:
    """EdgeTAM as a stream: one object, given as a mask in the first frame of the clip.

    Raises MissingBackendError if its packages are not installed, DataError if they hold another model.
    """

    def __init__(self, clip: Clip) -> None:
        check_installed()
        self._model = _build_model()
        parameters = sum(p.numel() for p in self._model.parameters())
        if parameters != PARAMETERS:
            raise _another_model("parameters", expected=PARAMETERS, got=parameters)
        self._clip = clip
        self._size = int(self._model.image_size)
        self._next = 0
        self._outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
        self._watch = Stopwatch()
        self._bank_tokens = 0
        for name, part in STAGES.items():
            _time_module(self._model.get_submodule(name), part, self._watch)
        self._model.memory_attention.register_forward_pre_hook(self._count_bank, with_kwargs=True)
        versions = f"edgetam-dimos {version('edgetam-dimos')}, timm {version('timm')}, torch {torch.__version__}"
        engine = EngineDescription("torch", "fp32", torch.get_num_threads(), versions, "random weights, eager")
        self._facts = SubjectFacts(PEER, self._size, parameters, BANK_TOKENS, engine, SCOPE)

    @property
    def facts(self) -> SubjectFacts:
        """What it is."""
        return self._facts

    def prepare(self) -> None:
        """Run frames until the bank is full. Raises DataError if it does not hold what the configuration says."""
        for _ in range(POINTER_FRAMES + 1):
            self.step()
        if self._bank_tokens != BANK_TOKENS:
            raise _another_model("bank tokens", expected=BANK_TOKENS, got=self._bank_tokens)

    def step(self) -> FrameTimes:
        """Run the next frame."""
        frame = self._clip.frame(self._next)
        self._watch.take()  # what a frame that raised left behind
        started = now()
        self._track(frame)
        total = now() - started
        self._next += 1
        parts = self._watch.take()
        parts["rest"] = total - sum(parts.values(), ZERO)
        parts[TOTAL] = total
        return FrameTimes(parts, {}, remembered=True)

    @torch.inference_mode()
    def _track(self, frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """The mask on the next frame, bool (height, width), as `SAM2VideoPredictor.propagate_in_video` gets it."""
        index, first = self._next, self._next == 0
        model = self._model
        encoded = model.forward_image(image_tensor(frame, self._size))
        _, features, positions, sizes = model._prepare_backbone_features(encoded)
        output = model.track_step(
            frame_idx=index,
            is_init_cond_frame=first,
            current_vision_feats=features,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            point_inputs=None,
            mask_inputs=_mask_tensor(self._clip.mask, self._size) if first else None,
            output_dict=self._outputs,
            num_frames=sys.maxsize,  # a stream: no last frame
        )
        recent = self._outputs["non_cond_frame_outputs"]
        (self._outputs["cond_frame_outputs"] if first else recent)[index] = output
        recent.pop(index - POINTER_FRAMES, None)
        logits = F.interpolate(output["pred_masks"], frame.shape[:2], mode="bilinear", align_corners=False)
        return (logits[0, 0] > 0).numpy()

    def _count_bank(self, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self._bank_tokens = keywords["memory"].shape[0]


def image_tensor(frame: NDArray[np.uint8], size: int) -> Tensor:
    """A frame as float32 (1, 3, size, size), resized and normalised as EdgeTAM does it."""
    pillow = import_media_library("PIL.Image", purpose="resizing frames for EdgeTAM")
    resized = np.array(pillow.fromarray(frame).resize((size, size)))
    image = torch.from_numpy(resized).permute(2, 0, 1)[None] / 255.0
    return (image - torch.tensor(IMAGE_MEAN).view(1, 3, 1, 1)) / torch.tensor(IMAGE_DEVIATION).view(1, 3, 1, 1)


def check_installed() -> None:
    """Raise MissingBackendError unless EdgeTAM's code and what it imports are there."""
    package = find_spec("sam2")
    folders = [] if package is None else list(package.submodule_search_locations or ())
    missing = [name for name in ("hydra", "timm") if find_spec(name) is None]
    if not any((Path(folder) / CONFIGURATION).is_file() for folder in folders):
        missing.insert(0, "edgetam-dimos")  # SAM 2's own package has the same module name, without the configuration
    if missing:
        raise MissingBackendError(
            explain(
                "the peer EdgeTAM",
                expected="edgetam-dimos, timm and hydra-core",
                got=f"no {', no '.join(missing)}",
                do="install the dependency group `peer` of pyproject.toml with pip's --no-deps, as `nox -s bench` does",
            )
        )


def _build_model() -> Any:
    """EdgeTAM from its own configuration, in evaluation mode; the global random state is left as it was."""
    with _without_torchvision():
        importlib.import_module("timm.models")
    backbone: Any = importlib.import_module("sam2.modeling.backbones.timm")
    create = backbone.create_model

    def create_untrained(name: str, *, pretrained: bool, **options: Any) -> nn.Module:
        model: nn.Module = create(name, pretrained=False, **options)
        return model

    backbone.create_model = create_untrained  # the code asks for pretrained weights, which would be downloaded
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            build = importlib.import_module("sam2.build_sam").build_sam2
            return build(CONFIGURATION, device="cpu", apply_postprocessing=False)
    finally:
        backbone.create_model = create


def _time_module(module: nn.Module, part: str, watch: Stopwatch) -> None:
    """Add the time of every call of a module to a part."""
    started = [now()]

    def before(*_: Any) -> None:
        started[0] = now()

    def after(*_: Any) -> None:
        watch.add(part, now() - started[0])

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)


def _mask_tensor(mask: NDArray[np.bool_], size: int) -> Tensor:
    """A mask as float32 (1, 1, size, size) of 0 and 1, as `SAM2VideoPredictor.add_new_mask` resizes it."""
    whole = torch.from_numpy(mask.astype(np.float32))[None, None]
    resized = F.interpolate(whole, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return (resized >= 0.5).float()


def _another_model(what: str, *, expected: int, got: int) -> DataError:
    do = "install the versions of the dependency group `peer` of pyproject.toml"
    return DataError(explain(f"EdgeTAM's {what}", expected=expected, got=got, do=do))


class _AnyClass(type):
    """A class that has every attribute: each name gives a class of its own."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _AnyClass(name, (), {})
        setattr(cls, name, made)
        return made


class _AnyModule(ModuleType):
    """A module that has every name, each a class of its own."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _AnyClass(name, (), {})
        setattr(self, name, made)
        return made


class _AnyTorchvision(MetaPathFinder, Loader):
    """Finds `torchvision` and every module in it as an empty one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "torchvision":
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _AnyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: the module has every name."""


@contextmanager
def _without_torchvision() -> Iterator[None]:
    """Let timm be imported where torchvision is not installed.

    timm names torchvision's transforms, data sets and frozen batch norm when it is imported; RepViT uses none of them.
    torchvision itself would replace the CPU build of torch by a CUDA build.
    """
    if find_spec("torchvision") is not None:
        yield
        return
    finder = _AnyTorchvision()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
