"""Packages side by side: what is read from a manifest, and that a package that does not verify is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from msgspec import structs
from typer.testing import CliRunner

from sam2lite_mobile.cli.packages import register
from sam2lite_mobile.errors import PackageError
from sam2lite_mobile.package.manifest import (
    JF_LOST,
    MANIFEST_NAME,
    MEDIAN_MASK_IOU,
    SNR_DB,
    WORST_MASK_IOU,
    FileEntry,
    GateResult,
    GraphFile,
    Manifest,
)
from sam2lite_mobile.package.overview import figures_of, overview_page, overview_tables, package_figures
from tests.package.samples import draft, gates

GRAPH, CLIP = gates()[0], gates()[-2]


def of_graph(graph: str, precision: str, db: float) -> GateResult:
    return structs.replace(GRAPH, graph=graph, precision=precision, measured=db, measure=SNR_DB)


def of_clip(clip: str, measure: str, measured: float, *, precision: str = "fp16") -> GateResult:
    return structs.replace(CLIP, clip=clip, measure=measure, measured=measured, precision=precision)


def manifest(*results: GateResult, **changes: object) -> Manifest:
    return structs.replace(draft(results=results), **changes)


def test_least_decibels_are_those_of_what_ships() -> None:
    figures = figures_of(
        manifest(
            of_graph("image_encoder_256", "fp32", 130.0),
            of_graph("image_encoder_256", "fp16", 51.0),
            of_graph("image_encoder_512", "fp16", 47.5),
            of_graph("prompt_encoder", "fp32", 200.0),
        )
    )
    assert figures.decibels["image_encoder"] == 47.5
    assert figures.decibels["prompt_encoder"] == 200.0  # float is all that there is of it


def test_short_clips_and_whole_sequences_are_told_apart() -> None:
    figures = figures_of(
        manifest(
            of_clip("blackswan, 24 frames, mask prompt", WORST_MASK_IOU, 0.999),
            of_clip("blackswan, 24 frames, mask prompt", MEDIAN_MASK_IOU, 0.9999),
            of_clip("blackswan, 49 tracked of 49 frames, mask prompt", WORST_MASK_IOU, 0.98),
            of_clip("camel, 80 tracked of 89 frames, mask prompt", WORST_MASK_IOU, 0.95),
            of_clip("DAVIS dev, 2 sequences, 129 tracked of 138 frames, mask prompt", MEDIAN_MASK_IOU, 0.991),
            of_clip("DAVIS dev, 2 sequences, 138 frames, mask prompt: J&F 82.08 in torch", JF_LOST, -0.04),
            of_clip("camel, 80 tracked of 89 frames, mask prompt", WORST_MASK_IOU, 0.1, precision="fp32"),
        )
    )
    assert figures.short_clips == (0.999,)
    assert figures.sequences == {"blackswan": 0.98, "camel": 0.95}
    assert (figures.median_iou, figures.lost) == (0.991, -0.04)


def test_shared_weights_weigh_once_and_folders_by_their_files() -> None:
    folder = FileEntry("weights/weight.bin", "c" * 64, 3_000_000)
    graphs = [
        GraphFile("image_encoder_256", "image_encoder", 256, "a.mlpackage", "d" * 64, 9, (folder,), (), ()),
        GraphFile("mask_decoder_256", "mask_decoder", 256, "all.tflite", "e" * 64, 2_000_000, (), (), ()),
        GraphFile("token_gate", "token_gate", None, "all.tflite", "e" * 64, 2_000_000, (), (), ()),
    ]
    text = FileEntry("weights.bin", "f" * 64, 500_000)
    assert figures_of(manifest(graphs=tuple(graphs), files=(text,))).megabytes == 5.5


def test_rows_say_what_was_not_measured_and_not_executed() -> None:
    figures = figures_of(manifest(of_graph("token_gate", "fp16", 200.0), executed=False))
    masks, decibels = overview_tables([figures])
    assert masks.rows == (("tiny, coreml fp16 (not executed)", "256", "0.0", "-", "-", "-", "-"),)
    assert decibels.rows[0][-1] == "exact"
    assert "| tiny, coreml fp16 (not executed) | 256 | 0.0 |" in overview_page([figures])


def test_command_shows_a_package_and_writes_the_page(published: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    register(app)
    page = tmp_path / "packages.md"
    result = CliRunner().invoke(app, [str(published), "--markdown", str(page)])
    assert result.exit_code == 0, result.output
    assert "Masks and size" in result.output
    assert "| tiny, coreml fp16 | 256 |" in page.read_text()


def test_package_that_does_not_verify_is_refused(package: Path) -> None:
    (package / "MODEL_CARD.md").write_text("another")
    with pytest.raises(PackageError, match=r"MODEL_CARD\.md.*sam2lite verify"):
        package_figures(package)
    assert (package / MANIFEST_NAME).is_file()
