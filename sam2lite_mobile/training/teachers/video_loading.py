"""Video models of `transformers` from a folder or from the Hugging Face Hub: safetensors only, and whole."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError

from sam2lite_mobile.errors import DataError, MissingBackendError, explain
from sam2lite_mobile.training.teachers.video_model import ATTENTION, VideoModelKind, VideoModelTeacher

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
INSTALL = "pip install 'sam2lite-mobile[teacher]'"
LISTED_ENTRIES = 5


def open_video_model(
    kind: VideoModelKind, source: str, *, device: torch.device | str, compact: bool = True
) -> VideoModelTeacher:
    """The model in a folder (config.json, model.safetensors), or that of a hub name `owner/name`, as teacher.

    Raises DataError for a model that is missing, broken, incomplete or of another kind, MissingBackendError without
    `transformers`, or without a package that this model asks for.
    """
    module = _modeling(kind)
    model_class = getattr(module, kind.model)
    local = Path(source).is_dir()
    if not local and not HUB_NAME.fullmatch(source):
        raise _unusable(kind, source, expected="a folder with config.json, or a name owner/name on the hub", got=source)
    model, info = _load(kind, model_class, source, local=local)
    problems = [*sorted(info["missing_keys"]), *sorted(str(entry) for entry in info["mismatched_keys"])]
    if problems:
        listed = ", ".join(problems[:LISTED_ENTRIES])
        raise _unusable(kind, source, expected="every weight", got=f"{len(problems)} missing or misshapen: {listed}")
    return VideoModelTeacher(
        model.to(device),
        kind=kind,
        session=getattr(module, kind.session),
        library_version=importlib.import_module("transformers").__version__,
        compact=compact,
    )


def _modeling(kind: VideoModelKind) -> ModuleType:
    try:
        return importlib.import_module(f"transformers.models.{kind.model_type}.modeling_{kind.model_type}")
    except ImportError as error:
        raise MissingBackendError(
            explain(f"{kind.name} teacher", expected="transformers 5.23.0", got=str(error), do=INSTALL)
        ) from error


def _load(kind: VideoModelKind, model_class: Any, source: str, *, local: bool) -> tuple[Any, dict[str, Any]]:
    try:
        config, _ = model_class.config_class.get_config_dict(source, local_files_only=local)
        if config.get("model_type") != kind.model_type:
            got = f"model_type {config.get('model_type')!r}"
            raise _unusable(kind, source, expected=f"model_type {kind.model_type!r}", got=got)
        model, info = model_class.from_pretrained(
            source,
            use_safetensors=True,
            local_files_only=local,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            ignore_mismatched_sizes=True,  # so that they are named: they are refused
            output_loading_info=True,
        )
    except ImportError as error:
        do = f"{INSTALL}, and what is named; EdgeTAM's image encoder needs timm and torchvision"
        raise MissingBackendError(
            explain(f"{kind.name} teacher", expected="the packages of its parts", got=_first_line(error), do=do)
        ) from error
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError, SafetensorError) as error:
        raise _unusable(kind, source, expected="a model that loads", got=_first_line(error)) from error
    return model, info


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _unusable(kind: VideoModelKind, source: str, *, expected: str, got: str) -> DataError:
    do = f"give a folder that {kind.model}.save_pretrained wrote, or a hub name"
    return DataError(explain(f"{kind.name} teacher {source}", expected=expected, got=got, do=do))
