"""Sessions: everything that this repository can be asked to do, each from a bare machine with Python 3.11.

Most sessions need torch, and torch with the converters is 2 GB and minutes to install. They share one environment,
which the session `toolkit` makes in .nox/toolkit and the others require. It is installed again only when this file or
pyproject.toml has changed. `lite` and `lint` have small environments of their own, because their point is what is
absent: `lite` proves that the runtime needs NumPy alone.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "lite", "tests"]
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "virtualenv"  # pip keeps an installed torch; other resolvers may replace it
nox.options.error_on_missing_interpreters = True

PYTHON = "3.11"
ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
SCRIPTS = "Scripts" if sys.platform == "win32" else "bin"
BENCH_TARGETS, BENCH_RECIPES = ("tflite", "onnx", "executorch"), ("fp32", "w8a8")
BENCH_CHECKPOINT, BENCH_SIZE = "assets/weights/tiny.safetensors", "512"
"""What `bench` builds and times: the goals of `sam2lite_mobile/evaluation/bench/limits.py` are stated for it."""
EVERYTHING = ".[coreml,onnx,tflite,executorch,video,train,report]"
TOOLKIT_VARIABLE = "SAM2LITE_TOOLKIT"
"""Environment variable: a ready environment to use in place of .nox/toolkit, so that the README's blocks, which run
in a copy of the repository, need not install everything again."""


def group(name: str) -> tuple[str, ...]:
    """Requirements of a dependency group of pyproject.toml."""
    return nox.project.dependency_groups(PYPROJECT, name)


def install_torch(session: nox.Session) -> None:
    """Install torch by itself, before anything else.

    The pinned version has a CPU build for Python 3.11. A resolver that sees other packages beside it may take a CUDA
    build with 15 nvidia packages instead; once this one is installed, nothing replaces it.
    """
    session.install("torch==2.13.0")


def refuse_cuda(session: nox.Session) -> None:
    """Fail if an nvidia package was installed: 3 GB that no session here can use."""
    listed = session.run("python", "-m", "pip", "list", "--format=freeze", silent=True)
    cuda = [line for line in str(listed).splitlines() if line.startswith(("nvidia-", "triton=="))]
    if cuda:
        session.error(f"CUDA packages: expected none, got {', '.join(cuda)}; remove .nox/toolkit and run this again")


def toolkit_bin() -> Path:
    """Folder of the shared environment's executables."""
    return Path(os.environ.get(TOOLKIT_VARIABLE, ROOT / ".nox" / "toolkit")).resolve() / SCRIPTS


def run(session: nox.Session, program: str, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
    """Run a program of the shared environment, which also comes first in PATH. variables: more of its environment."""
    folder = toolkit_bin()
    path = os.pathsep.join([str(folder), os.environ.get("PATH", "")])
    environment = {"PATH": path, TOOLKIT_VARIABLE: str(folder.parent), **(variables or {})}
    session.run(str(folder / program), *arguments, env=environment, external=True)


@nox.session(python=PYTHON, default=False)
def toolkit(session: nox.Session) -> None:
    """Make the environment that the sessions with torch share: all converters, video, training, tests, types."""
    if TOOLKIT_VARIABLE in os.environ:
        session.log(f"using {os.environ[TOOLKIT_VARIABLE]}")
        return
    inputs = [ROOT / "pyproject.toml", Path(__file__)]
    wanted = hashlib.sha256(b"\0".join([str(ROOT).encode(), *(path.read_bytes() for path in inputs)])).hexdigest()
    stamp = Path(session.virtualenv.location) / "installed.sha256"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    install_torch(session)
    session.install("-e", EVERYTHING, *group("test"), *group("types"), *group("browser"))
    refuse_cuda(session)
    stamp.write_text(wanted)


@nox.session(python=False, requires=["toolkit"])
def build_ios(session: nox.Session) -> None:
    """Convert the student to Core ML, execute and compare every graph, and write dist/ios. Options are passed on."""
    run(session, "python", "-m", "converters", "coreml", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def build_onnx(session: nox.Session) -> None:
    """Convert the student to ONNX, execute and compare every graph, and write dist/onnx. Options are passed on."""
    run(session, "python", "-m", "converters", "onnx", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def build_android(session: nox.Session) -> None:
    """Convert the student to TFLite, execute and compare every graph, and write dist/android. Options are passed on."""
    run(session, "python", "-m", "converters", "tflite", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def build_executorch(session: nox.Session) -> None:
    """Convert the student to ExecuTorch, execute and compare every graph, and write dist/executorch. Options go on."""
    run(session, "python", "-m", "converters", "executorch", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def tests(session: nox.Session) -> None:
    """Run the quick tests, two files at a time. Options are passed to pytest; `-n 0` has one process."""
    # By file: what a file converts for its tests is converted once.
    run(session, "python", "-m", "pytest", "-n", "2", "--dist", "loadfile", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def slow(session: nox.Session) -> None:
    """Run the slow tests: full-size models, long clips. Options are passed to pytest."""
    run(session, "python", "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def docs(session: nox.Session) -> None:
    """Run every command and snippet of README.md, in order, in a copy of the repository."""
    run(session, "python", "-m", "pytest", "-m", "docs", "tests/docs", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def types(session: nox.Session) -> None:
    """Check types with mypy, strict, in both packages."""
    run(session, "python", "-m", "mypy", *session.posargs)


@nox.session(python=False, requires=["toolkit"])
def bench(session: nox.Session) -> None:
    """Time packages of Tiny, built where out of date, beside torch and EdgeTAM, into dist/bench. Options go on."""
    # Without dependencies: both packages ask for torchvision, which would bring a CUDA build of torch.
    run(session, "python", "-m", "pip", "install", "--quiet", "--no-deps", *group("peer"))
    packages = [(target, recipe) for recipe in BENCH_RECIPES for target in BENCH_TARGETS]
    for target, recipe in packages:
        build = ["--checkpoint", BENCH_CHECKPOINT, "--recipe", recipe, "--sizes", BENCH_SIZE]
        run(session, "python", "-m", "converters", target, *build, "--out", f"dist/bench/{target}_{recipe}")
    subjects = ["--students", "nano,tiny", "--eager", "tiny"]
    subjects += [word for target, recipe in packages for word in ("--package", f"dist/bench/{target}_{recipe}")]
    files = ["--json", "dist/bench/bench.json", "--report", "dist/bench/benchmark.md"]
    # NumPy reads this: its matrix product may stand for the machine's peak.
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    run(session, "sam2lite", "bench", *subjects, "--sweep", *files, *session.posargs, variables=threads)


@nox.session(python=False, requires=["toolkit"])
def bench_train(session: nox.Session) -> None:
    """Measure what training costs, into dist/bench_train.json. Options, such as another --recipe, are passed on."""
    (ROOT / "dist").mkdir(exist_ok=True)
    run(session, "sam2lite", "bench-train", "--recipe", "smoke", "--json", "dist/bench_train.json", *session.posargs)


@nox.session(python=PYTHON)
def lite(session: nox.Session) -> None:
    """Import and test the runtime in an environment that has NumPy alone beside the test tools."""
    session.install("-e", ".", *group("test"))
    session.run("python", "-m", "pytest", "tests/test_imports.py", "tests/runtime", *session.posargs)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check style (ruff), format (ruff format) and the direction of imports (import-linter)."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
