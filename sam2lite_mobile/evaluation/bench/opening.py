"""How subjects are made, from specifications that are small enough to be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam2lite_mobile.errors import MissingBackendError, explain
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.subjects import Subject


@dataclass(frozen=True)
class StudentSpec:
    """A published student with random weights on torch."""

    student: str
    size: int


@dataclass(frozen=True)
class PackageSpec:
    """A package on its engine: `coreml` is Core ML itself on macOS, the interpreter of ML Programs elsewhere."""

    engine: str
    folder: Path
    size: int


@dataclass(frozen=True)
class PeerSpec:
    """EdgeTAM with random weights on torch."""


SubjectSpec = StudentSpec | PackageSpec | PeerSpec


def open_subject(spec: SubjectSpec, clip: Clip, *, threads: int) -> Subject:
    """The subject of a specification on a clip; torch is held to `threads` threads in the whole process.

    Raises MissingBackendError if what runs it is not installed, PackageError for an unsound package, ContractError for
    a size that the package was not built for.
    """
    try:
        hold_threads(threads)
        match spec:
            case StudentSpec(student, size):
                from sam2lite_mobile.evaluation.bench.students import student_subject

                return student_subject(student, clip, size=size)
            case PackageSpec(name, folder, size):
                from sam2lite_mobile.engines import create_engine
                from sam2lite_mobile.evaluation.bench.tracker_subject import TrackerSubject

                engine = create_engine(name, source=folder, threads=threads)
                return TrackerSubject(f"{name}@{size}", engine, clip, size=size)
            case PeerSpec():
                from sam2lite_mobile.evaluation.bench.peer import EdgeTam

                return EdgeTam(clip)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingBackendError(
            explain("the benchmark", expected="torch", got="none", do="pip install 'sam2lite-mobile[torch]'")
        ) from error


def hold_threads(threads: int) -> None:
    """Hold torch to this many threads, in the whole process."""
    import torch

    torch.set_num_threads(threads)
