"""Checkpoints: safetensors with the configuration as JSON in the header.

No pickle anywhere; files from elsewhere are untrusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sam2lite_mobile.errors import CheckpointError, explain
from sam2lite_mobile.student.config import StudentConfig
from sam2lite_mobile.student.student import Student

FORMAT = "sam2lite-student"
FORMAT_VERSION = "1"
LARGEST_FILE_BYTES = 1 << 30
LARGEST_HEADER_BYTES = 4 << 20
DTYPES = ("F16", "F32")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, whenever the writer is stopped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def safetensors_bytes(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> bytes:
    """A safetensors file as bytes, the same for the same content: the library writes header entries in random order."""
    data = save(dict(tensors), dict(facts))
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def save_student(student: Student, path: Path, *, facts: Mapping[str, str] | None = None) -> None:
    """Write a student's weights as float16 safetensors, atomically; the same weights give the same bytes.

    facts: further header entries (recipe, clips, licence, ...), kept as strings.
    """
    metadata = {**(facts or {}), "format": FORMAT, "format_version": FORMAT_VERSION}
    metadata["config"] = json.dumps(student.config.to_dict(), sort_keys=True)
    tensors = {name: value.detach().half().contiguous() for name, value in sorted(student.state_dict().items())}
    too_large = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if too_large:
        raise CheckpointError(
            explain("student weights", expected="finite in float16", got=too_large[:5], do="resume from an older state")
        )
    write_atomically(path, safetensors_bytes(tensors, metadata))


def read_header(path: Path) -> tuple[StudentConfig, dict[str, str]]:
    """Configuration and all header facts of a checkpoint. Raises CheckpointError; reads no weights."""
    if not path.is_file():
        raise CheckpointError(explain("checkpoint", expected="a file", got=str(path), do="check the path"))
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    header = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < header <= min(LARGEST_HEADER_BYTES, size - 8) or size > LARGEST_FILE_BYTES:
        raise CheckpointError(
            explain(
                f"checkpoint {path.name}",
                expected="a safetensors file of at most 1 GB with a header of at most 4 MB",
                got=f"{size} bytes, header length {header}",
                do="export it again with sam2lite train",
            )
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = dict(file.metadata() or {})
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            explain(f"checkpoint {path.name}", expected="safetensors", got=str(error), do="export it again")
        ) from error
    kind = (metadata.get("format"), metadata.get("format_version"))
    if kind != (FORMAT, FORMAT_VERSION):
        raise CheckpointError(
            explain(
                f"checkpoint {path.name}",
                expected=f"{FORMAT} version {FORMAT_VERSION}",
                got=kind,
                do="use a checkpoint of this version of sam2lite",
            )
        )
    try:
        config = StudentConfig.from_dict(json.loads(metadata.get("config", "")))
    except json.JSONDecodeError as error:
        raise CheckpointError(
            explain(f"checkpoint {path.name} config", expected="JSON", got=str(error), do="export it again")
        ) from error
    return config, metadata


def load_student(path: Path) -> Student:
    """The student of a checkpoint, in float32, eval mode.

    Raises CheckpointError naming every entry that is unknown, missing, misshapen, of another dtype or not finite.
    """
    config, _ = read_header(path)
    with torch.random.fork_rng():
        student = Student(config).eval()
    expected = student.state_dict()
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            found = set(file.keys())
            problems = [f"unknown entry {name}" for name in sorted(found - set(expected))]
            problems += [f"missing entry {name}" for name in sorted(set(expected) - found)]
            for name in sorted(found & set(expected)):
                entry = file.get_slice(name)
                shape, dtype = tuple(entry.get_shape()), entry.get_dtype()
                if shape != tuple(expected[name].shape) or dtype not in DTYPES:
                    want = f"{tuple(expected[name].shape)} of {' or '.join(DTYPES)}"
                    problems.append(f"{name} is {shape} {dtype} in place of {want}")
            if not problems:
                tensors = {name: file.get_tensor(name).float() for name in sorted(found)}
    except SafetensorError as error:
        raise CheckpointError(
            explain(f"checkpoint {path.name}", expected="whole tensors", got=str(error), do="export it again")
        ) from error
    problems += [f"{name} is not finite" for name, value in tensors.items() if not np.isfinite(value.sum().item())]
    if problems:
        listed = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(
            explain(f"checkpoint {path.name}", expected="the entries of its student", got=listed, do="export it again")
        )
    student.load_state_dict(tensors)
    return student


def checkpoint_hash(path: Path) -> str:
    """sha256 of a checkpoint file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
