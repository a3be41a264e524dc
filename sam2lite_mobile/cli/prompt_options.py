"""Prompts from the command line: --box, --point and --mask, grouped by --object and --at.

A prompt may say itself whom and when it is for: [N:]VALUE[@FRAME], N the object's id, FRAME counted from 0 in the
source. `--object N` and `--at FRAME` are shorthand: they add the prefix and the suffix to the prompts after them, as
`expand_groups` does before the arguments are parsed, because a parser does not keep the order of different options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sam2lite_mobile.errors import ContractError, explain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sam2lite_mobile.runtime.prompts import Box, Point, Prompt

PROMPT_OPTIONS = ("--box", "--point", "--mask")
DEFAULT_OBJECT = 1
ADDRESSED = re.compile(r"(?:(?P<object>[0-9]+):)?(?P<value>.*?)(?:@(?P<frame>[0-9]+))?", re.DOTALL)

PromptSchedule = Mapping[int, Mapping[int, "Prompt"]]
"""Prompts by frame of the source, then by object id."""


@dataclass(frozen=True)
class AddressedValue:
    """The value of a prompt option, and the object and frame that it is for (None: not said)."""

    value: str
    object_id: int | None
    frame: int | None


def split_address(text: str) -> AddressedValue:
    """The parts of [N:]VALUE[@FRAME]. A path such as C:\\mask.png or mask@2x.png has no address."""
    match = ADDRESSED.fullmatch(text)
    if match is None or not match["value"]:
        raise ContractError(explain("prompt", expected="[N:]VALUE[@FRAME]", got=repr(text), do="give it a value"))
    object_id, frame = (None if part is None else int(part) for part in match.group("object", "frame"))
    return AddressedValue(match["value"], object_id, frame)


def expand_groups(arguments: Sequence[str]) -> list[str]:
    """The arguments with each prompt addressed by the --object and --at before it; these two are taken out.

    --object N starts a group: prompts after it belong to object N, in the first frame. --at FRAME moves the prompts
    after it to that frame. A prefix or suffix that a prompt has already stays. Raises ContractError if the value of
    --object or --at is not a number.
    """
    expanded: list[str] = []
    object_id: int | None = None
    frame: int | None = None
    pending = iter(arguments)
    for argument in pending:
        if argument == "--":
            return [*expanded, argument, *pending]
        option, separator, value = argument.partition("=")
        if option not in (*PROMPT_OPTIONS, "--object", "--at"):
            expanded.append(argument)
            continue
        if not separator:
            following = next(pending, None)
            if following is None:
                expanded.append(argument)  # the parser says that a value is missing
                continue
            value = following
        if option == "--object":
            object_id, frame = _number(option, value), None
        elif option == "--at":
            frame = _number(option, value)
        else:
            expanded += [option, _with_address(value, object_id, frame)]
    return expanded


@dataclass
class _Draft:
    """What has been said so far about one object in one frame."""

    boxes: list[Box] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    masks: list[NDArray[np.bool_]] = field(default_factory=list)


def parse_prompts(
    boxes: Iterable[str], points: Iterable[str], masks: Iterable[str], *, start_frame: int = 0
) -> dict[int, dict[int, Prompt]]:
    """The prompts by frame of the source, ascending, then by object id.

    Prompts that say no frame are for `start_frame`; boxes and points that say no object are for object 1. Points and
    a box for the same object and frame are one prompt. A mask without an object id gives one object per id in the
    file. Raises ContractError for a malformed prompt, DataError for a mask file that cannot be read.
    """
    from sam2lite_mobile.runtime.masks import check_object_id
    from sam2lite_mobile.runtime.prompts import Prompt

    drafts: dict[tuple[int, int], _Draft] = {}

    def draft(address: AddressedValue, object_id: int) -> _Draft:
        check_object_id(object_id)
        frame = start_frame if address.frame is None else address.frame
        if frame < start_frame:
            raise ContractError(
                explain("prompt", expected=f"frame {start_frame} or later", got=frame, do="lower --start-frame")
            )
        return drafts.setdefault((frame, object_id), _Draft())

    for text in boxes:
        address = split_address(text)
        draft(address, _object(address)).boxes.append(parse_box(address.value))
    for text in points:
        address = split_address(text)
        draft(address, _object(address)).points.append(parse_point(address.value))
    for text in masks:
        address = split_address(text)
        for object_id, mask in read_masks(Path(address.value), address.object_id).items():
            draft(address, object_id).masks.append(mask)
    if not drafts:
        raise ContractError(
            explain("prompts", expected="a --box, --point or --mask", got="none", do="say what to track")
        )
    schedule: dict[int, dict[int, Prompt]] = {}
    for (frame, object_id), said in sorted(drafts.items()):
        if len(said.boxes) > 1 or len(said.masks) > 1:
            raise ContractError(
                explain(
                    f"object {object_id} in frame {frame}",
                    expected="one box or one mask",
                    got=f"{len(said.boxes)} boxes, {len(said.masks)} masks",
                    do="start another object with --object N",
                )
            )
        schedule.setdefault(frame, {})[object_id] = Prompt(
            box=said.boxes[0] if said.boxes else None,
            points=tuple(said.points),
            mask=said.masks[0] if said.masks else None,
        )
    return schedule


def check_reachable(schedule: PromptSchedule, *, stop: int | None) -> None:
    """Raise ContractError if a prompt is for frame `stop` or later. None: nobody knows where the source ends."""
    last = max(schedule)
    if stop is not None and last >= stop:
        raise ContractError(
            explain("prompt", expected=f"a frame up to {stop - 1}", got=last, do="read more frames, or prompt earlier")
        )


def parse_box(text: str) -> Box:
    """The box in "x0,y0,x1,y1": left, top, right and bottom edge in pixels of the frame."""
    from sam2lite_mobile.runtime.prompts import Box

    numbers = _numbers(text)
    if len(numbers) != 4:
        raise ContractError(explain("--box", expected="x0,y0,x1,y1", got=repr(text), do="give four pixel coordinates"))
    return Box(*numbers)


def parse_point(text: str) -> Point:
    """The point in "x,y" or "x,y,label": label 1 is on the object (the default), 0 beside it."""
    from sam2lite_mobile.runtime.prompts import Point

    numbers = _numbers(text)
    if len(numbers) not in (2, 3) or numbers[2:] not in ([], [0.0], [1.0]):
        raise ContractError(
            explain("--point", expected="x,y or x,y,label with label 0 or 1", got=repr(text), do="give a pixel")
        )
    return Point(numbers[0], numbers[1], int(numbers[2])) if len(numbers) == 3 else Point(numbers[0], numbers[1])


def read_masks(path: Path, object_id: int | None) -> dict[int, NDArray[np.bool_]]:
    """The masks in a PNG by object id, bool (height, width).

    With `object_id`, one mask for that object: the pixels with its id, or in a file with a single id all that are not
    0. Raises DataError if the file cannot be read, ContractError if it has no object or none with that id.
    """
    from sam2lite_mobile.media.label_maps import object_ids, read_label_map

    label_map = read_label_map(path)
    found = object_ids(label_map)
    if not found:
        raise ContractError(explain(str(path), expected="pixels above 0", got="none", do="paint the object"))
    if object_id is None:
        return {each: label_map == each for each in found}
    if len(found) == 1:
        return {object_id: label_map > 0}
    if object_id not in found:
        raise ContractError(
            explain(str(path), expected=f"pixels with id {object_id}", got=f"ids {found}", do="name one of these ids")
        )
    return {object_id: label_map == object_id}


def _object(address: AddressedValue) -> int:
    return DEFAULT_OBJECT if address.object_id is None else address.object_id


def _with_address(text: str, object_id: int | None, frame: int | None) -> str:
    said = split_address(text)
    prefix = f"{object_id}:" if said.object_id is None and object_id is not None else ""
    suffix = f"@{frame}" if said.frame is None and frame is not None else ""
    return f"{prefix}{text}{suffix}"


def _number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ContractError(explain(option, expected="a whole number", got=repr(text), do=f"write {option} 1"))
    return int(text)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise ContractError(
            explain("prompt", expected="numbers with commas between them", got=repr(text), do="write 120,80.5")
        ) from error
