"""The page: views of every input, put into one HTML file with its style and script inside.

Nothing is loaded from elsewhere, and the page's policy forbids it: pictures are data, and the one script that may run
is named by its hash. Text of the inputs is escaped by jinja2; numbers for the script lie in a JSON block.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

from sam2lite_mobile import __version__
from sam2lite_mobile.errors import DataError, MissingBackendError, explain
from sam2lite_mobile.evaluation.bench.tables import TextTable
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.latency import TIMER_SCOPE
from sam2lite_mobile.evaluation.report.ablations import AblationView, ablation_view
from sam2lite_mobile.evaluation.report.benches import BenchView, bench_view
from sam2lite_mobile.evaluation.report.dot_chart import DotChart
from sam2lite_mobile.evaluation.report.evaluations import (
    STABILITY_NOTE,
    Headline,
    change_charts,
    headlines,
    latency_chart,
    latency_table,
    score_chart,
    sequence_table,
)
from sam2lite_mobile.evaluation.report.inputs import Inputs
from sam2lite_mobile.evaluation.report.player import Player
from sam2lite_mobile.evaluation.report.sequences import (
    GalleryPicture,
    gallery,
    sequence_player,
    sequences_worst_first,
)
from sam2lite_mobile.evaluation.report.tracks import TrackView, track_view
from sam2lite_mobile.media.atomic_file import replace_file

FRAMES_MAX = 100
"""Pictures of a sequence on the page unless the caller wants another number; charts always have every frame."""
PAGE_BYTES = 128 * 2**20
"""A larger page is not written: browsers are slow with it."""
TEMPLATES = "templates"


@dataclass(frozen=True)
class EvaluationSection:
    """Everything about the evaluations."""

    headlines: tuple[Headline, ...]
    scores: DotChart
    changes: tuple[DotChart, ...]
    table: TextTable
    gallery: tuple[GalleryPicture, ...]
    players: tuple[Player, ...]
    latency: DotChart
    latency_table: TextTable


@dataclass(frozen=True)
class Page:
    """What the template draws."""

    title: str
    evaluations: EvaluationSection | None = None
    tracks: tuple[TrackView, ...] = ()
    benches: tuple[BenchView, ...] = ()
    ablations: tuple[AblationView, ...] = ()
    version: str = __version__
    timer: str = TIMER_SCOPE
    stability_note: str = field(default=STABILITY_NOTE)

    @property
    def players(self) -> tuple[Player, ...]:
        """All players of the page."""
        sequences = () if self.evaluations is None else self.evaluations.players
        return tuple(chain(sequences, (track.player for track in self.tracks)))


def build_page(inputs: Inputs, *, title: str, data: Path | None = None, frames_max: int = FRAMES_MAX) -> Page:
    """The views of all inputs. data: a root in DAVIS layout with the frames of the evaluated sequences, for pictures.

    frames_max: pictures of a sequence at most. Raises DataError where masks are named without data, or files do not
    fit together.
    """
    if data is None and any(each.masks is not None for each in inputs.evaluations):
        raise DataError(
            explain("--masks", expected="--data ROOT beside it", got="none", do="name the frames that they belong to")
        )
    return Page(
        title=title,
        evaluations=_evaluations(inputs, data, frames_max) if inputs.evaluations else None,
        tracks=tuple(track_view(n, each, frames_max=frames_max) for n, each in enumerate(inputs.tracks, start=1)),
        benches=tuple(bench_view(each) for each in inputs.benches),
        ablations=tuple(ablation_view(each) for each in inputs.ablations),
    )


def page_html(page: Page) -> str:
    """The page as HTML. Raises MissingBackendError where jinja2 is missing."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingBackendError(
            explain("the page", expected="jinja2", got="none", do="pip install 'sam2lite-mobile[report]'")
        ) from error

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _template("page.js")
    payload: dict[str, Any] = {player.id: player.payload() for player in page.players}
    return environment.get_template("page.html.j2").render(
        page=page,
        payload=payload,
        style=_template("page.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def write_page(path: Path, html: str) -> int:
    """Write the page, the old file or the new one whenever interrupted; gives back its bytes.

    Raises DataError for a page that is too large, or a place that cannot be written to.
    """
    data = html.encode()
    if len(data) > PAGE_BYTES:
        raise DataError(
            explain(str(path), expected=f"a page of at most {PAGE_BYTES} bytes", got=len(data), do="lower --frames")
        )
    replace_file(path, data)
    return len(data)


def _evaluations(inputs: Inputs, data: Path | None, frames_max: int) -> EvaluationSection:
    layout = None if data is None else DavisLayout(data)
    given: Sequence[Any] = inputs.evaluations
    sequences = sequences_worst_first(given)
    players = tuple(
        sequence_player(place, name, scored, layout=layout, frames_max=frames_max)
        for place, (name, scored) in enumerate(sequences, start=1)
    )
    return EvaluationSection(
        headlines=tuple(headlines(given)),
        scores=score_chart(given),
        changes=tuple(change_charts(given)),
        table=sequence_table(given),
        gallery=tuple(gallery(players, [scored for _, scored in sequences])),
        players=players,
        latency=latency_chart(given),
        latency_table=latency_table(given),
    )


def _template(name: str) -> str:
    """The text of a file of the templates."""
    return (resources.files(__package__) / TEMPLATES / name).read_text(encoding="utf-8")
