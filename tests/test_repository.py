"""Rules of the repository as a whole: what may be in it, what it says about itself, what it installs."""

import ast
import re
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from tests.repository import PACKAGES, ROOT, pyproject, python_files, repository_files

MEBIBYTE = 1 << 20
MAX_FILE_BYTES = 25 * MEBIBYTE
MAX_CLIP_BYTES = 3_000_000
MIN_CLIP_FRAMES = 48
SELF = "sam2lite-mobile"
DISTRIBUTIONS = {"cv2": "opencv-python-headless", "PIL": "pillow", "google": "protobuf"}
"""Distributions whose module has another name."""

# One letter of each word is in brackets, so that the pattern does not find itself.
PRIVATE = re.compile(
    r"(?<![\w.~-])/(?:wor[k]|roo[t]|home/\w+|Users/\w+|opt/pyp[i][\w-]*)/"  # folders of one machine
    r"|fil[e]:///"
    r"|index-ur[l]\b|find-link[s]\b"  # a package index other than the default
    r"|://(?:[^/\s]*@|\d+\.\d+\.\d+\.\d+)",  # a password or a bare address
    re.IGNORECASE,
)


def requirement_names(extra: str) -> set[str]:
    """Requirements of an extra, with references to extras of this package replaced by what they hold."""
    extras: dict[str, list[str]] = pyproject()["project"]["optional-dependencies"]
    found: set[str] = set()
    for requirement in extras[extra]:
        if (reference := re.fullmatch(rf"{SELF}\[([\w,]+)\]", requirement)) is not None:
            found.update(*(requirement_names(name) for name in reference[1].split(",")))
        else:
            found.add(requirement)
    return found


def nox_sessions() -> dict[str, str | None]:
    """Name of each session in noxfile.py and its docstring."""

    def is_session(decorator: ast.expr) -> bool:
        target = decorator.func if isinstance(decorator, ast.Call) else decorator
        return ast.unparse(target) == "nox.session"

    module = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef))
    return {f.name: ast.get_docstring(f) for f in functions if any(map(is_session, f.decorator_list))}


def test_no_file_is_over_25_mib():
    large = {str(path): size for path in repository_files() if (size := (ROOT / path).stat().st_size) > MAX_FILE_BYTES}

    assert large == {}


def test_no_file_names_a_private_folder_or_package_index():
    found = []
    for path in repository_files():
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image, a video, weights
        found += [f"{path}: {match[0]}" for match in PRIVATE.finditer(text)]

    assert found == []


@pytest.mark.parametrize(
    "text",
    ["'/wor|k/data'", "/hom|e/ann/clip.mp4", "--index-ur|l https://x", "https:|//user:pw@host", "http:|//10.0.0.1/x"],
)
def test_private_pattern_finds(text: str):
    assert PRIVATE.search(text.replace("|", ""))
    assert not PRIVATE.search(text)


@pytest.mark.parametrize(
    "text", ["https://github.com/apple/work/x", "src/work/a", "~/work/a", "https://pypi.org/simple"]
)
def test_private_pattern_lets_pass(text: str):
    assert not PRIVATE.search(text)


def test_every_module_says_what_it_is():
    silent = [
        str(path)
        for path in python_files()
        if not ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    ]

    assert silent == []


def test_every_subpackage_has_a_layer():
    layers = " ".join(pyproject()["tool"]["importlinter"]["contracts"][0]["layers"])
    parts = {path.parts[1].removesuffix(".py") for path in python_files() if path.parts[0] == PACKAGES[0]}

    assert {f"{PACKAGES[0]}.{part}" for part in parts - {"__init__"}} <= set(re.findall(r"[\w.]+", layers))


def test_base_install_needs_numpy_alone():
    assert [re.split(r"[<>=]", name)[0] for name in pyproject()["project"]["dependencies"]] == ["numpy"]


def test_all_is_the_union_of_the_other_extras():
    extras = pyproject()["project"]["optional-dependencies"]

    assert requirement_names("all") == set().union(*(requirement_names(name) for name in extras if name != "all"))


def test_each_package_has_one_requirement_whichever_extras_are_chosen():
    requirements: dict[str, set[str]] = {}
    for requirement in requirement_names("all"):
        requirements.setdefault(re.split(r"[<>=]", requirement)[0], set()).add(requirement)

    assert {name: sorted(found) for name, found in requirements.items() if len(found) > 1} == {}


ALTERNATIVES = {"tflite-runtime"}
"""The former name of ai-edge-litert, which the TFLite engine takes too; its wheels need an older NumPy than ours."""


def test_every_import_of_the_packages_is_declared():
    imported: set[str] = set()
    for path in python_files():
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                imported.add(node.module)
    modules = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - set(PACKAGES)
    needed = {DISTRIBUTIONS.get(name, name).replace("_", "-") for name in modules}
    declared = {re.split(r"[<>=]", name)[0].replace("_", "-") for name in requirement_names("all") | {"numpy"}}

    assert needed <= declared | ALTERNATIVES
    assert needed >= ALTERNATIVES


def test_every_extra_brings_the_command_line():
    extras = pyproject()["project"]["optional-dependencies"]

    assert [name for name in extras if not requirement_names("cli") <= requirement_names(name)] == []


def test_every_session_has_one_line_of_help():
    sessions = nox_sessions()

    assert {"build_ios", "tests", "slow", "lite", "lint", "types", "docs", "bench"} <= set(sessions)
    assert [name for name, text in sessions.items() if text is None or "\n" in text] == []


def test_default_sessions_exist():
    module = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    assigned = {ast.unparse(node.targets[0]): node.value for node in module.body if isinstance(node, ast.Assign)}

    assert set(ast.literal_eval(assigned["nox.options.sessions"])) == {"lint", "types", "lite", "tests"}


def test_no_cuda_package_is_installed():
    names = {str(distribution.metadata["Name"]).lower() for distribution in distributions()}

    assert {name for name in names if name.startswith(("nvidia-", "nvidia_")) or name == "triton"} == set()


def test_sample_clip_is_under_3_mb_and_states_its_terms(sample_clip: Path):
    total = sum(path.stat().st_size for path in sample_clip.rglob("*") if path.is_file())

    assert total < MAX_CLIP_BYTES
    assert "CC BY-NC 4.0" in (sample_clip / "TERMS.md").read_text(encoding="utf-8")


def test_sample_clip_has_a_mask_of_the_same_size_for_every_frame(sample_clip: Path):
    image: Any = pytest.importorskip("PIL.Image", reason="reads pictures: pip install 'sam2lite-mobile[video]'")
    frames = sorted((sample_clip / "JPEGImages" / "blackswan").glob("*.jpg"))
    masks = sorted((sample_clip / "Annotations" / "blackswan").glob("*.png"))

    assert len(frames) >= MIN_CLIP_FRAMES
    assert [path.stem for path in frames] == [path.stem for path in masks]
    for frame, mask in zip(frames, masks, strict=True):
        with image.open(frame) as picture, image.open(mask) as annotation:
            assert picture.size == annotation.size == (854, 480)
            low, high = annotation.convert("L").getextrema()
            assert low == 0 < high, f"{mask.name}: a mask without object or without background"
