"""The page of a report: what it shows of every kind of result, escaped, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html as html_text
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sam2lite_mobile.errors import DataError
from sam2lite_mobile.evaluation.bench.results import write_bench
from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.report import page
from sam2lite_mobile.evaluation.report.inputs import read_inputs
from sam2lite_mobile.evaluation.report.page import build_page, page_html, write_page
from sam2lite_mobile.evaluation.results import SequenceResult
from tests.evaluation.report_inputs import (
    HOSTILE,
    evaluated,
    worse,
    write_ablation,
    write_evaluation,
    write_track,
)
from tests.evaluation.test_benchmark import bench_result
from tests.media.clips import write_davis

FRAMES = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_davis(tmp_path_factory.mktemp("report") / "tiny", ["a", "b"], frames=FRAMES)


@pytest.fixture(scope="module")
def sequences(root: Path) -> list[SequenceResult]:
    return evaluated(DavisLayout(root), root / "masks")


def payload_of(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="payload">(.*?)</script>', html, re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


class Tags(HTMLParser):
    """Every tag with its attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_two_evaluations_stand_side_by_side_worst_first(
    root: Path, sequences: list[SequenceResult], tmp_path: Path
) -> None:
    paths = [
        write_evaluation(tmp_path / "good.json", sequences),
        write_evaluation(tmp_path / "bad.json", worse(sequences, 5, name="b"), size=304),
    ]
    found = build_page(read_inputs(paths, masks=[root / "masks"]), title="T", data=root)
    section = found.evaluations
    assert section is not None
    assert [player.title for player in section.players] == ["b", "a"]
    assert "against good (95 %" in section.headlines[1].change
    assert section.headlines[0].change == ""
    assert len(section.changes) == 1
    first = section.players[0]
    assert first.opening.index == 5  # it opens at the worst frame
    assert first.worst[0][1] == "00005: 12.5"
    assert first.opening.values[1].startswith("J&F 12.5 (J 12.5, F 12.5")
    assert [layer.label for layer in first.layers] == ["annotation", "good"]
    assert all(path.startswith("M") for path in first.opening.outlines)
    assert [chart.title for chart in first.charts] == ["J&F over the frames, percent", "Flicker, percent"]
    assert (section.gallery[0].player, section.gallery[0].jf) == (first.id, "12.5")
    html = page_html(found)
    frames = payload_of(html)[first.id]["frames"]
    assert len(frames) == FRAMES
    assert all(frame["s"].startswith("data:image/jpeg;base64,") for frame in frames)
    held = frames[3]["m"][0]
    assert list(held) == sorted(held, key=int)
    assert "0" in held


def test_evaluations_of_other_frames_are_not_compared(sequences: list[SequenceResult], tmp_path: Path) -> None:
    paths = [
        write_evaluation(tmp_path / "all.json", sequences),
        write_evaluation(tmp_path / "cut.json", sequences, max_frames=5),
        write_evaluation(tmp_path / "one.json", sequences[:1]),
        write_evaluation(tmp_path / "again.json", sequences[:1], size=304),
    ]
    section = build_page(read_inputs(paths), title="T").evaluations
    assert section is not None
    assert [bool(each.change) for each in section.headlines] == [False, False, False, True]
    assert "one sequence: no interval" in section.headlines[3].change
    assert [chart.title for chart in section.changes] == ["Change of J&F from one to again"]


def test_page_without_data_has_charts_and_no_pictures(sequences: list[SequenceResult], tmp_path: Path) -> None:
    html = page_html(build_page(read_inputs([write_evaluation(tmp_path / "r.json", sequences)]), title="T"))
    assert "data:image" not in html
    assert "Worst frames</h2>" not in html
    assert "J&amp;F over the frames" in html


def test_pictures_are_thinned_and_the_worst_frame_stays(
    root: Path, sequences: list[SequenceResult], tmp_path: Path
) -> None:
    path = write_evaluation(tmp_path / "r.json", worse(sequences, 2))
    found = build_page(read_inputs([path]), title="T", data=root, frames_max=2)
    indices = [frame.index for frame in found.players[0].frames]
    assert 2 in indices
    assert {0, FRAMES - 1} <= set(indices)


def test_looped_clip_has_its_memory_drawn_and_no_pictures(root: Path, tmp_path: Path) -> None:
    looped = evaluated(DavisLayout(root), tmp_path / "m", loop_frames=25)
    path = write_evaluation(tmp_path / "loop.json", looped, loop_frames=25)
    player = build_page(read_inputs([path]), title="T", data=root).players[0]
    assert (player.title, player.width, player.frames[-1].name) == ("a, looped", 0, "24")
    assert player.charts[-1].title == "Resident memory of the process, MB"


def test_energy_and_memory_are_shown(sequences: list[SequenceResult], tmp_path: Path) -> None:
    section = build_page(read_inputs([write_evaluation(tmp_path / "r.json", sequences)]), title="T").evaluations
    assert section is not None
    facts = dict(section.headlines[0].facts)
    (energy,) = (name for name in facts if name.startswith("Wh for 10 minutes of video, by "))
    assert float(facts[energy]) >= 0
    assert float(facts["peak MB"].replace("\u202f", "")) > 1  # thousands stand apart


def test_scores_of_a_version_without_stability_are_shown(sequences: list[SequenceResult], tmp_path: Path) -> None:
    path = write_evaluation(tmp_path / "r.json", sequences)
    content = json.loads(path.read_text())
    content["schema_version"] = 2
    del content["conditions"]["loop_frames"], content["conditions"]["processes"]
    for name in ("stability", "energy", "memory"):
        del content["summary"][name]
    for sequence in content["sequences"]:
        del sequence["stability"], sequence["frame_names"], sequence["resident"], sequence["cost"]
        for scores in sequence["objects"]:
            del scores["flicker"], scores["annotated_flicker"], scores["memory_cells"]
    path.write_text(json.dumps(content))
    section = build_page(read_inputs([path]), title="T").evaluations
    assert section is not None
    facts = dict(section.headlines[0].facts)
    assert facts["flicker"] == "\N{EN DASH}"
    assert float(facts["consistency"]) >= 0
    assert "peak MB" not in facts


def test_track_folder_shows_size_window_scheduler_and_memory(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "run", scheduler=True)
    (view,) = build_page(read_inputs([folder]), title="T").tracks
    titles = [chart.title for chart in view.player.charts]
    assert titles[:4] == ["Milliseconds a frame", "Input size, px", "Memory window, frames", "Scheduler"]
    assert view.player.frames[4].values[0] == "0.16 s, 256 px, window 2, 24.0 ms, thermal: fair, reason: too slow"
    assert view.player.frames[4].memory == ({0: "8000" + "4000" + "0" * 56, 4: "0" * 63 + "1"},)
    assert view.player.frames[4].image.startswith("data:image/jpeg")
    assert view.player.start == 5  # the lowest predicted IoU
    assert dict(view.facts)["frames"] == "6"
    assert view.stages.rows[0] == ("total", "22.5", "24.8", "24.9")
    assert "prompt" not in [row[0] for row in view.stages.rows]


def test_track_folder_without_changes_or_video_shows_what_there_is(tmp_path: Path) -> None:
    folder = write_track(tmp_path / "run", frames=1)
    (folder / "overlay.mp4").unlink()
    (view,) = build_page(read_inputs([folder]), title="T").tracks
    assert view.player.width == 0
    assert "Input size, px" not in [chart.title for chart in view.player.charts]


def test_benchmark_and_ablation_are_drawn_and_tabled(tmp_path: Path) -> None:
    write_bench(tmp_path / "b.json", bench_result())
    html = page_html(build_page(read_inputs([tmp_path / "b.json", write_ablation(tmp_path / "a.json")]), title="T"))
    text = " ".join(" ".join(Tags(html).text).split())
    assert "A whole frame" in text
    assert "a note" in text
    assert "without attention matching" in text
    assert "\u221210.0" in text  # 50 against 60, whatever the seed
    with pytest.raises(DataError, match="suite: expected distillation, got 'other'"):
        build_page(read_inputs([write_ablation(tmp_path / "a.json", suite="other")]), title="T")


def test_hostile_names_stay_text(sequences: list[SequenceResult], tmp_path: Path) -> None:
    hostile = [msgspec.structs.replace(each, name=f"{each.name}{HOSTILE}") for each in sequences]
    paths = [write_evaluation(tmp_path / f"{n}.json", hostile, split=HOSTILE, data=HOSTILE) for n in "xy"]
    paths.append(write_track(tmp_path / "run", name=HOSTILE))
    html = page_html(build_page(read_inputs(paths), title=HOSTILE))
    tags = Tags(html)
    assert [attributes.get("type") for tag, attributes in tags.found if tag == "script"] == ["application/json", None]
    assert not any("onerror" in attributes for _, attributes in tags.found)
    assert html.count("<img") == html.count('<img src="data:image/jpeg;base64,')
    assert f"a{html_text.escape(HOSTILE, quote=True)}"[:20] in html
    assert payload_of(html)["track-1"]["frames"][0]["n"] == HOSTILE


def test_nothing_is_loaded_from_elsewhere_and_one_script_may_run(root: Path, tmp_path: Path) -> None:
    html = page_html(build_page(read_inputs([write_track(tmp_path / "run")]), title="T"))
    tags = Tags(html)
    addresses = [
        value
        for _, attributes in tags.found
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action") and value
    ]
    assert addresses
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for value in addresses)
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = [a["content"] for tag, a in tags.found if a.get("http-equiv") == "Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_controls_have_names_for_those_who_do_not_see_them(root: Path, tmp_path: Path) -> None:
    html = page_html(build_page(read_inputs([write_track(tmp_path / "run")]), title="T"))
    for tag, attributes in Tags(html).found:
        if tag == "input" and attributes.get("type") == "range":
            assert attributes.get("aria-label")
        if tag == "svg":
            assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
        if tag == "img":
            assert "alt" in attributes
    assert '<html lang="en">' in html


def test_masks_need_data_and_must_fit_it(root: Path, sequences: list[SequenceResult], tmp_path: Path) -> None:
    path = write_evaluation(tmp_path / "r.json", sequences)
    with pytest.raises(DataError, match="--masks: expected --data ROOT beside it"):
        build_page(read_inputs([path], masks=[root / "masks"]), title="T")
    short = write_davis(tmp_path / "short", ["a", "b"], frames=FRAMES - 1)
    with pytest.raises(DataError, match=f"expected {FRAMES} frames, got {FRAMES - 1}"):
        build_page(read_inputs([path]), title="T", data=short)


def test_page_over_the_limit_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_page(tmp_path / "r.html", "<p>\u2212</p>") == 10
    monkeypatch.setattr(page, "PAGE_BYTES", 9)
    with pytest.raises(DataError, match="a page of at most 9 bytes, got 10; lower --frames"):
        write_page(tmp_path / "other.html", "<p>\u2212</p>")
    assert [each.name for each in tmp_path.iterdir()] == ["r.html"]
