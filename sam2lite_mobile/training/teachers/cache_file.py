"""One clip's teacher frames as one safetensors file: written the same for the same content, read with suspicion.

Tensors `<i>.mask_logits`, `<i>.attention` and `<i>.readout`, float16, for the i-th tracked frame. The header says which
question the file answers (`key`), how tokens and queries lie (`layout`, JSON), and has a hash of the tensors' bytes,
which safetensors itself does not.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from sam2lite_mobile.errors import ContractError, DataError, explain
from sam2lite_mobile.student.checkpoint import safetensors_bytes
from sam2lite_mobile.training.alignment import NO_FRAME, TokenSpan
from sam2lite_mobile.training.teachers.teacher import TeacherFrame
from sam2lite_mobile.training.teachers.tensor_hash import tensors_hash

FORMAT = "sam2lite-teacher-frames"
FORMAT_VERSION = "1"
LARGEST_FILE_BYTES = 1 << 31
LARGEST_HEADER_BYTES = 1 << 20
MOST_FRAMES = 4096
MOST_TOKENS = 1 << 24
TENSORS = ("mask_logits", "attention", "readout")
HEADER_LENGTH_BYTES = 8


@dataclass(frozen=True)
class Layout:
    """Where the tokens and queries of a frame lie."""

    spans: tuple[TokenSpan, ...]
    query_grid: tuple[int, int]


def encode(tracked: list[TeacherFrame], *, key: str) -> bytes:
    """A file that answers `key`, values rounded to float16.

    Raises ContractError for values that float16 does not hold, and for more than LARGEST_FILE_BYTES.
    """
    tensors = {}
    for index, frame in enumerate(tracked):
        for name in TENSORS:
            value = getattr(frame, name).detach().half().contiguous().cpu()
            if not bool(torch.isfinite(value).all()):
                raise ContractError(
                    explain(
                        f"teacher's {name} of frame {index + 1}",
                        expected="finite in float16",
                        got="values over 65504, or NaN",
                        do="use this teacher without a cache, or another one",
                    )
                )
            tensors[f"{index}.{name}"] = value
    size = sum(value.nbytes for value in tensors.values())
    if size > LARGEST_FILE_BYTES - LARGEST_HEADER_BYTES:
        raise ContractError(
            explain(
                "clip for a teacher's cache",
                expected=f"at most {LARGEST_FILE_BYTES / 1e9:.1f} GB of attention and readouts",
                got=f"{size / 1e9:.1f} GB",
                do="use shorter or smaller clips, or no cache",
            )
        )
    facts = {"format": FORMAT, "format_version": FORMAT_VERSION, "key": key, "tensors": tensors_hash(tensors)}
    return safetensors_bytes(tensors, facts | {"layout": json.dumps([_layout_data(frame) for frame in tracked])})


def decode(data: bytes, *, key: str) -> list[TeacherFrame]:
    """The frames of a file, in float32 on the CPU.

    Raises DataError unless the file is whole, as `encode` wrote it, and answers `key`.
    """
    facts = _header_facts(data)
    found = (facts.get("format"), facts.get("format_version"), facts.get("key"))
    if found != (FORMAT, FORMAT_VERSION, key):
        raise _foreign(f"{FORMAT} version {FORMAT_VERSION} with this file's key", " ".join(map(str, found)))
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # the last three: a dtype that torch lacks
        raise _foreign("whole tensors", error) from error
    if tensors_hash(tensors) != facts.get("tensors"):
        raise _foreign("tensors with the hash in the header", "others")
    layouts = _read_layouts(facts.get("layout", ""))
    if set(tensors) != {f"{index}.{name}" for index in range(len(layouts)) for name in TENSORS}:
        raise _foreign(f"three tensors for each of {len(layouts)} frames", f"{len(tensors)} tensors")
    return [_frame(layout, *(tensors[f"{i}.{name}"] for name in TENSORS)) for i, layout in enumerate(layouts)]


def read_limited(path: Path) -> bytes:
    """The bytes of a file. Raises OSError where it cannot be read, DataError over LARGEST_FILE_BYTES."""
    size = path.stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise _foreign(f"at most {LARGEST_FILE_BYTES} bytes", size)
    return path.read_bytes()


def _frame(layout: Layout, mask_logits: Tensor, attention: Tensor, readout: Tensor) -> TeacherFrame:
    queries, tokens = math.prod(layout.query_grid), sum(span.tokens for span in layout.spans)
    shapes = (mask_logits.dim(), attention.shape, readout.dim(), readout.shape[:1])
    values = (mask_logits, attention, readout)
    if shapes != (2, (queries, tokens), 2, (queries,)) or any(value.dtype != torch.float16 for value in values):
        raise _foreign(f"float16 tensors for {queries} queries and {tokens} tokens", shapes)
    logits, mass, read = (value.float() for value in values)
    return TeacherFrame(logits, mass, layout.spans, layout.query_grid, read)


def _layout_data(frame: TeacherFrame) -> dict[str, object]:
    spans = [[span.frame, span.tokens, None if span.grid is None else list(span.grid)] for span in frame.spans]
    return {"spans": spans, "query_grid": list(frame.query_grid)}


def _read_layouts(text: str) -> list[Layout]:
    try:
        data = json.loads(text)
        layouts = [Layout(tuple(_span(*span) for span in each["spans"]), _grid(each["query_grid"])) for each in data]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _foreign("a layout of spans and grids", error) from error
    if not 0 < len(layouts) <= MOST_FRAMES:
        raise _foreign(f"1 to {MOST_FRAMES} frames", len(layouts))
    return layouts


def _span(frame: object, tokens: object, grid: object) -> TokenSpan:
    span = TokenSpan(_whole(frame, low=NO_FRAME), _whole(tokens), None if grid is None else _grid(grid))
    if span.grid is not None and math.prod(span.grid) != span.tokens:
        raise ValueError(f"{span.tokens} tokens on a grid {span.grid}")
    return span


def _grid(data: object) -> tuple[int, int]:
    if not isinstance(data, list) or len(data) != 2:
        raise ValueError(f"no grid: {data!r}")
    return _whole(data[0]), _whole(data[1])


def _whole(data: object, *, low: int = 0) -> int:
    if type(data) is not int or not low <= data <= MOST_TOKENS:
        raise ValueError(f"no number of tokens or frames: {data!r}")
    return data


def _header_facts(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file's header."""
    length = int.from_bytes(data[:HEADER_LENGTH_BYTES], "little")
    if not 0 < length <= min(LARGEST_HEADER_BYTES, len(data) - HEADER_LENGTH_BYTES):
        raise _foreign(f"a header of at most {LARGEST_HEADER_BYTES} bytes", f"{length} in {len(data)}")
    try:
        header = json.loads(data[HEADER_LENGTH_BYTES : HEADER_LENGTH_BYTES + length])
    except (ValueError, RecursionError) as error:
        raise _foreign("a header in JSON", error) from error
    facts = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(facts, dict) or not all(isinstance(value, str) for value in facts.values()):
        raise _foreign("a header with facts", "none")
    return facts


def _foreign(expected: object, got: object) -> DataError:
    return DataError(explain("cached teacher frames", expected=expected, got=got, do="they are made again"))
