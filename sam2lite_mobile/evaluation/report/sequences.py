"""One sequence of the evaluations: scores over its frames, its frames with every mask, what the memory held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.datasets import DavisLayout, SequenceFrame, read_frame, read_mask
from sam2lite_mobile.evaluation.report.axes import number
from sam2lite_mobile.evaluation.report.inputs import EvaluationInput
from sam2lite_mobile.evaluation.report.line_chart import SERIES_COLOURS, Line, LineChart, line_chart
from sam2lite_mobile.evaluation.report.pictures import data_uri, outline_path, picture_size
from sam2lite_mobile.evaluation.report.player import Layer, Player, PlayerFrame, chosen_frames, lowest
from sam2lite_mobile.evaluation.results import SequenceResult
from sam2lite_mobile.media.label_maps import read_label_map

GALLERY_WIDTH = 300
"""Width of a picture in the gallery of the worst frames."""
MEASURES = ("jf", "j", "f", "flicker")
ANNOTATION = Layer("annotation", "truth")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """A sequence in one evaluation: its place among the evaluations, name and masks of it, and the scores."""

    place: int
    name: str
    masks: Path | None
    sequence: SequenceResult
    looped: bool

    @property
    def style(self) -> str:
        """Class of the evaluation's colour."""
        return f"s{self.place % SERIES_COLOURS}"


@dataclass(frozen=True)
class GalleryPicture:
    """One of the worst frames of all."""

    player: str
    position: int
    caption: str
    jf: str
    image: str
    width: int
    height: int
    outlines: tuple[tuple[str, str], ...]


def sequences_worst_first(evaluations: Sequence[EvaluationInput]) -> list[tuple[str, list[Scored]]]:
    """Every sequence with its scores in each evaluation, the one with the lowest J&F anywhere first.

    A clip that was looped stands for itself: its frames are not those of the clip.
    """
    found: dict[str, list[Scored]] = {}
    for place, each in enumerate(evaluations):
        looped = each.result.conditions.loop_frames is not None
        for sequence in each.result.sequences:
            scored = Scored(place, each.name, each.masks, sequence, looped)
            title = f"{sequence.name}, looped" if looped else sequence.name
            found.setdefault(title, []).append(scored)
    return sorted(found.items(), key=lambda item: min(each.sequence.jf_mean for each in item[1]))


def sequence_player(
    number_of: int, name: str, scored: Sequence[Scored], *, layout: DavisLayout | None, frames_max: int
) -> Player:
    """The player of a sequence. layout: where its frames are, None for charts alone. frames_max: pictures at most.

    Raises DataError where frames or masks are not those that were evaluated.
    """
    count = max(each.sequence.frames for each in scored)
    means = [{measure: frame_means(each.sequence, measure, count) for measure in MEASURES} for each in scored]
    inner = [_inner(each["jf"], one.sequence.frames) for each, one in zip(means, scored, strict=True)]
    lows = np.fmin.reduce(inner)
    worst = lowest(lows.tolist(), apart=max(2, count // 16))
    looped = any(each.looped for each in scored)
    files = None if layout is None or looped else _files(layout, name, count)
    names = _frame_names(scored, files, count)
    positions = chosen_frames(count, limit=frames_max, always=worst)
    with_memory = [each for each in scored if all(scores.memory_cells is not None for scores in each.sequence.objects)]
    masked = [each for each in scored if each.masks is not None and files is not None]
    frames = [
        PlayerFrame(
            index=index,
            name=names[index],
            image="" if files is None else data_uri(read_frame(files[index].image)),
            outlines=() if files is None else _outlines(name, files[index], masked),
            values=tuple(_readout(each, index) for each in means),
            memory=tuple(_held(each.sequence, index) for each in with_memory),
        )
        for index in positions
    ]
    sides = (scored[0].sequence.width, scored[0].sequence.height)
    width, height = (0, 0) if files is None else picture_size(*sides)
    start = positions.index(worst[0]) if worst else 0
    return Player(
        id=f"sequence-{number_of}",
        title=name,
        width=width,
        height=height,
        frames=tuple(frames),
        layers=() if files is None else (ANNOTATION, *(Layer(each.name, each.style) for each in masked)),
        series=tuple(Layer(each.name, each.style) for each in scored),
        charts=tuple(_charts(scored, means, count)),
        strips=tuple(each.name for each in with_memory),
        start=start,
        worst=tuple(
            (positions.index(index), f"{frames[positions.index(index)].name}: {number(100 * lows[index])}")
            for index in worst
        ),
    )


def gallery(players: Sequence[Player], scored: Sequence[Sequence[Scored]], *, count: int = 6) -> list[GalleryPicture]:
    """The worst frames of all sequences that have pictures, worst first, two of a sequence at most."""
    candidates = []
    for player, each in zip(players, scored, strict=True):
        if player.width:
            for position, _ in player.worst[:2]:
                index = player.frames[position].index
                means = [frame_means(one.sequence, "jf", index + 1)[index] for one in each]
                candidates.append((float(np.nanmin(means)), player, position))
    return [
        GalleryPicture(
            player=player.id,
            position=position,
            caption=f"{player.title} {player.frames[position].name}",
            jf=number(100 * jf),
            image=player.frames[position].image,
            width=player.width,
            height=player.height,
            outlines=tuple(
                (layer.style, path) for layer, path in zip(player.layers, player.frames[position].outlines, strict=True)
            ),
        )
        for jf, player, position in sorted(candidates, key=lambda item: item[0])[:count]
    ]


def frame_means(sequence: SequenceResult, measure: str, count: int) -> Values:
    """Mean over the objects that are tracked at each of `count` frames, NaN where none is. measure: j, f, jf, flicker
    or annotated_flicker; a change counts for its later frame."""
    sums, objects = np.zeros(count), np.zeros(count)
    for scores in sequence.objects:
        if measure == "jf":
            values = (np.asarray(scores.j) + np.asarray(scores.f)) / 2
        else:
            values = np.asarray(getattr(scores, measure) or ())
        first = scores.first_frame + (measure.endswith("flicker"))
        part = values[: max(0, count - first)]
        sums[first : first + len(part)] += part
        objects[first : first + len(part)] += 1
    with np.errstate(invalid="ignore"):
        means: Values = sums / objects
    return means


def _charts(scored: Sequence[Scored], means: Sequence[dict[str, Values]], count: int) -> list[LineChart]:
    frames = list(range(count))
    lines = [
        Line(each.name, frames, (100 * values["jf"]).tolist(), each.place)
        for each, values in zip(scored, means, strict=True)
    ]
    charts = [line_chart("J&F over the frames, percent", lines, x_label="frame", y_range=(0, 100), height=230)]
    flicker = [(each, 100 * values["flicker"]) for each, values in zip(scored, means, strict=True)]
    known = [(each, values) for each, values in flicker if np.isfinite(values).any()]
    if known:
        floor = 100 * frame_means(known[0][0].sequence, "annotated_flicker", count)
        changes = [Line(each.name, frames, values.tolist(), each.place) for each, values in known]
        changes.append(Line("annotation", frames, floor.tolist(), floor=True))
        top = max(20.0, *(float(np.nanmax(values)) for _, values in known))
        charts.append(
            line_chart("Flicker, percent", changes, x_label="frame", y_range=(0, min(100.0, 1.05 * top)), height=120)
        )
    remembered = [each for each in scored if each.sequence.resident]
    if remembered:
        memory = [
            Line(
                each.name,
                [sample.frame for sample in each.sequence.resident or ()],
                [sample.resident_bytes / 1e6 for sample in each.sequence.resident or ()],
                each.place,
                marks=True,
            )
            for each in remembered
        ]
        charts.append(
            line_chart("Resident memory of the process, MB", memory, x_label="frame", from_zero=True, height=130)
        )
    return charts


def _files(layout: DavisLayout, name: str, count: int) -> tuple[SequenceFrame, ...] | None:
    """The frames of a sequence; None where the data set has no such sequence. Raises DataError for too few frames."""
    if name not in layout.sequence_names():
        return None
    files = layout.frames(name)
    if len(files) < count:
        raise DataError(
            explain(f"{layout.root}: {name}", expected=f"{count} frames", got=len(files), do="name the evaluated data")
        )
    return files


def _outlines(sequence: str, frame: SequenceFrame, masked: Sequence[Scored]) -> tuple[str, ...]:
    truth = read_mask(frame.annotation)
    paths = [outline_path(truth)]
    for each in masked:
        file = (each.masks or Path()) / sequence / f"{frame.name}.png"
        if not file.is_file():  # cut short by --max-frames
            paths.append("")
            continue
        labels = read_label_map(file)
        if labels.shape != truth.shape:
            raise DataError(
                explain(str(file), expected=f"a mask of {truth.shape}", got=labels.shape, do="name that result's masks")
            )
        paths.append(outline_path(labels))
    return tuple(paths)


def _readout(means: dict[str, Values], index: int) -> str:
    """Scores of a frame in words. means: by measure, one value a frame."""
    jf, j, f, flicker = (float(means[measure][index]) for measure in MEASURES)
    if not np.isfinite(jf):
        return "not tracked here"
    shown = f", flicker {number(100 * flicker)}" if np.isfinite(flicker) else ""
    return f"J&F {number(100 * jf)} (J {number(100 * j)}, F {number(100 * f)}{shown})"


def _held(sequence: SequenceResult, index: int) -> dict[int, str]:
    """Cells in memory after a frame, over all objects, by the frame that they come from."""
    merged: dict[int, int] = {}
    for scores in sequence.objects:
        place = index - scores.first_frame
        if scores.memory_cells is not None and 0 <= place < len(scores.memory_cells):
            for source, bits in scores.memory_cells[place].items():
                merged[source] = merged.get(source, 0) | int(bits, 16)
    return {source: f"{bits:064x}" for source, bits in sorted(merged.items())}


def _frame_names(scored: Sequence[Scored], files: Sequence[SequenceFrame] | None, count: int) -> list[str]:
    """Names of the frames as files, where the data set or a result tells them; of a looped clip, and else, indices."""
    if files is not None:
        return [file.name for file in files[:count]]
    if not any(each.looped for each in scored):
        for each in scored:
            if each.sequence.frame_names is not None and len(each.sequence.frame_names) == count:
                return each.sequence.frame_names
    return [str(index) for index in range(count)]


def _inner(values: Values, frames: int) -> Values:
    """Values of the frames that count: without the given one, the last one, and what is beyond the sequence."""
    inner = values.copy()
    tracked = np.flatnonzero(np.isfinite(values))
    inner[tracked[:1]] = np.nan
    inner[frames - 1 :] = np.nan
    return inner
