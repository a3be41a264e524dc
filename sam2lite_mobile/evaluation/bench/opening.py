"""How subjects are made, from specifications that are small enough to be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sam2lite_mobile.contract import BANK_TOKENS
from sam2lite_mobile.errors import MissingBackendError, explain
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.subjects import EAGER, PEER, TORCH, Subject, Variant


@dataclass(frozen=True)
class StudentSpec:
    """A published student with random weights on torch: on our tuned engine, or eagerly as it is written."""

    student: str
    size: int
    tuned: bool = True
    bank_tokens: int = BANK_TOKENS
    objects: int = 1

    @property
    def name(self) -> str:
        """Name of its subject."""
        variant = Variant(self.student, TORCH if self.tuned else EAGER)
        return variant.name(self.size, bank_tokens=self.bank_tokens, objects=self.objects)


@dataclass(frozen=True)
class Package:
    """What a package's manifest says that a benchmark needs.

    sizes: that it was built for, ascending. disk_bytes: of its models. checkpoint_sha256: of the weights that it was
    made from.
    """

    folder: Path
    variant: Variant
    sizes: tuple[int, ...]
    bank_tokens: int
    disk_bytes: int
    checkpoint_sha256: str


@dataclass(frozen=True)
class PackageSpec:
    """A package on the engine of its runtime: for `coreml` Core ML on macOS, our interpreter elsewhere."""

    package: Package
    size: int
    objects: int = 1

    @property
    def name(self) -> str:
        """Name of its subject."""
        return self.package.variant.name(self.size, bank_tokens=self.package.bank_tokens, objects=self.objects)


@dataclass(frozen=True)
class PeerSpec:
    """EdgeTAM with random weights on torch."""

    @property
    def name(self) -> str:
        """Name of its subject."""
        return PEER


SubjectSpec = StudentSpec | PackageSpec | PeerSpec


def open_subject(spec: SubjectSpec, clip: Clip, *, threads: int) -> Subject:
    """The subject of a specification on a clip. Where torch runs it, torch gets `threads` threads in the whole process.

    A package's process does not import torch unless its runtime does. Raises MissingBackendError if what runs it is not
    installed, PackageError for an unsound package, ContractError for a size that the package was not built for.
    """
    match spec:
        case StudentSpec():
            hold_threads(threads)
            from sam2lite_mobile.evaluation.bench.students import student_subject

            return student_subject(
                spec.student,
                clip,
                size=spec.size,
                tuned=spec.tuned,
                bank_tokens=spec.bank_tokens,
                objects=spec.objects,
            )
        case PackageSpec():
            from sam2lite_mobile.engines import create_engine
            from sam2lite_mobile.evaluation.bench.tracker_subject import TrackerSubject

            package = spec.package
            engine = create_engine(package.variant.runtime, source=package.folder, threads=threads)
            return TrackerSubject(
                spec.name,
                engine,
                clip,
                size=spec.size,
                variant=package.variant,
                disk_bytes=package.disk_bytes,
                checkpoint_sha256=package.checkpoint_sha256,
                objects=spec.objects,
            )
        case PeerSpec():
            hold_threads(threads)
            from sam2lite_mobile.evaluation.bench.peer import EdgeTam

            return EdgeTam(clip)


def hold_threads(threads: int) -> None:
    """Hold torch to this many threads, in the whole process. Raises MissingBackendError where torch is missing."""
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise MissingBackendError(
            explain("the benchmark", expected="torch", got="none", do="pip install 'sam2lite-mobile[torch]'")
        ) from error
    torch.set_num_threads(threads)
