"""The main job: a checkpoint to a package whose every model was executed and compared before it was written."""

from __future__ import annotations

import hashlib
import importlib.metadata
import multiprocessing
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np

from converters.accuracy import (
    AccuracySet,
    SequencePair,
    accuracy_digest,
    accuracy_set,
    measure_accuracy,
    tracked_frames,
)
from converters.calibration import calibration_digest, needs_calibration, read_calibration
from converters.gates import clip_gate, require_passed
from converters.limits import (
    ACCURACY_LIMITS,
    CLIP_LIMITS,
    GRAPH_LIMITS,
    LOWERING_LIMITS,
    MEDIAN_LIMITS,
    SEQUENCE_LIMITS,
)
from converters.options import BuildOptions, Reporter
from converters.recording import RECORDED_FRAMES, record_inputs
from converters.target import Target
from converters.worker import GraphOutcome, GraphTask, convert_and_gate
from sam2lite_mobile import __version__, contract
from sam2lite_mobile.engines.torch_engine import TorchEngine
from sam2lite_mobile.errors import ContractError, explain
from sam2lite_mobile.evaluation.datasets import sample_clip
from sam2lite_mobile.evaluation.prompted_clip import PromptedClip, read_clip
from sam2lite_mobile.package.declare import build_key, draft_manifest
from sam2lite_mobile.package.manifest import Defaults, GateResult, Licence, Precision
from sam2lite_mobile.package.templates import repository_root
from sam2lite_mobile.package.verify import is_current
from sam2lite_mobile.quantization.policy import policy_hash, precision_policy
from sam2lite_mobile.quantization.ranges import LayerRanges
from sam2lite_mobile.student.checkpoint import checkpoint_hash, read_header

SAMPLE_SEQUENCE = "blackswan"


def build(target: Target, options: BuildOptions, reporter: Reporter) -> Path:
    """Write a package and return its folder. Does nothing where the folder holds the same build, verified.

    Raises GateError where a measure misses its limit, ConversionError, PackageError or DataError otherwise; the folder
    is then as it was.
    """
    _check_recipe(target, options.recipe)
    config, facts = read_header(options.checkpoint)
    calibration = read_calibration(options.checkpoint) if needs_calibration(options.recipe) else None
    root = repository_root()
    clip, measured = _sample_clip(options), accuracy_set()
    key = build_key(_build_inputs(target, options, root, clip, measured))
    if not options.force and is_current(options.out, key):
        reporter.note(f"{options.out} is up to date: same checkpoint, options, tools, code and clips; it verifies")
        return options.out
    options.out.parent.mkdir(parents=True, exist_ok=True)
    _remove_dead_builds(options.out.parent)
    with tempfile.TemporaryDirectory(prefix=f".build-{os.getpid()}-", dir=options.out.parent) as temporary:
        folder = Path(temporary)
        outcomes = _convert_all(
            target, options, clip, folder, reporter, ranges=calibration.ranges() if calibration else None
        )
        target.assemble(folder, [outcome.id for outcome in outcomes])
        gates = [gate for outcome in outcomes for gate in outcome.gates]
        gates += list(_gate_sample_clip(target, options, folder, clip, reporter))
        gates += _gate_sequences(target, options, folder, measured, reporter)
        require_passed(gates)
        manifest = draft_manifest(
            package_name="sam2lite-models",
            package_version=__version__,
            runtime=target.runtime,
            student_size=config.name,
            checkpoint_sha256=checkpoint_hash(options.checkpoint),
            precision=Precision(recipe=options.recipe, policy_sha256=policy_hash(precision_policy(options.recipe))),
            sizes=options.sizes,
            bank_tokens=options.bank_tokens,
            defaults=Defaults(size=options.sizes[-1], window=contract.WINDOW_MAX, compute_units="all"),
            build_key=key,
            gates=tuple(gates),
            calibration=calibration.record() if calibration else None,
            conformance_sha256=None,
            tools=_tool_versions(target),
            licences=(
                Licence(part="code", spdx="Apache-2.0"),
                Licence(part="weights", spdx=facts.get("licence", "CC-BY-NC-4.0")),
            ),
        )
        reporter.stage("assembling and verifying the package")
        target.publish(
            options.out,
            models={outcome.id: outcome.model for outcome in outcomes},
            manifest=manifest,
            model_card=_model_card(options.checkpoint),
            licence=root / "LICENSE",
        )
    return options.out


def _check_recipe(target: Target, recipe: str) -> None:
    if recipe not in target.recipes:
        raise ContractError(
            explain(f"{target.name} in {recipe}", expected=" or ".join(target.recipes), got=recipe, do="choose another")
        )


def _remove_dead_builds(folder: Path) -> None:
    """Remove working folders of builds that were killed: their names hold the process that made them."""
    for leftover in folder.glob(".build-*-*"):
        owner = leftover.name.split("-")[1]
        if owner.isdigit() and not _is_running(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _convert_all(
    target: Target,
    options: BuildOptions,
    clip: PromptedClip,
    folder: Path,
    reporter: Reporter,
    *,
    ranges: Mapping[str, LayerRanges] | None,
) -> list[GraphOutcome]:
    """Convert and gate every graph, large ones first, in processes of their own."""
    reporter.stage("recording what the graphs are fed in the middle of a sequence")
    engine = TorchEngine.from_checkpoint(options.checkpoint, bank_tokens=options.bank_tokens, threads=1)
    recorded = record_inputs(engine, clip, options.sizes)
    tasks = []
    for spec in contract.all_graph_specs(options.sizes, bank_tokens=options.bank_tokens):
        path = folder / f"{spec.id}.npz"
        with path.open("wb") as file:
            np.savez(file, **recorded[spec.id])  # type: ignore[arg-type]
        tasks.append(
            GraphTask(
                target=target.name,
                checkpoint=options.checkpoint,
                spec=spec,
                bank_tokens=options.bank_tokens,
                recipe=options.recipe,
                ranges=ranges,
                inputs=path,
                folder=folder,
            )
        )
    tasks.sort(key=lambda task: (-(task.spec.size or 0), task.spec.id))
    reporter.stage(f"converting and executing {len(tasks)} graphs with {options.workers} processes")
    outcomes: dict[str, GraphOutcome] = {}
    os.environ["TQDM_DISABLE"] = "1"  # coremltools' bars; tqdm reads it when it is imported, in the new processes
    # Spawned, not forked: torch's thread pool does not survive a fork.
    with ProcessPoolExecutor(options.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        pending: set[Future[GraphOutcome]] = {pool.submit(convert_and_gate, task) for task in tasks}
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    outcomes[outcome.id] = outcome
                    reporter.note(_outcome_line(outcome))
                    require_passed(outcome.gates)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [outcomes[spec.id] for spec in contract.all_graph_specs(options.sizes, bank_tokens=options.bank_tokens)]


def _gate_sample_clip(
    target: Target, options: BuildOptions, folder: Path, clip: PromptedClip, reporter: Reporter
) -> Iterator[GateResult]:
    """The sample clip at every size, tracked by both engines on their own."""
    reference = TorchEngine.from_checkpoint(options.checkpoint, bank_tokens=options.bank_tokens, threads=1)
    candidate = target.engine(folder)
    for size in options.sizes:
        reporter.stage(f"tracking {clip.name} at {size} px with both engines, {len(clip.frames)} frames")
        results, worst = clip_gate(reference, candidate, clip, size=size, precision=options.recipe)
        reporter.note(
            f"{clip.name} at {size} px: worst mask IoU {results[0].measured:.4f} (frame {worst}), "
            f"limit {results[0].limit}"
        )
        require_passed(results)
        yield from results


def _gate_sequences(
    target: Target, options: BuildOptions, folder: Path, measured: AccuracySet, reporter: Reporter
) -> list[GateResult]:
    """How far masks agree on all annotated sequences at hand, and the J&F that the package loses there."""
    reporter.stage(f"tracking {measured.name}, {len(measured.sequences)} sequences, with both engines")

    def note(pair: SequencePair) -> None:
        before, after, kept = 100 * pair.reference.jf_mean, 100 * pair.candidate.jf_mean, tracked_frames(pair)
        reporter.note(
            f"{pair.reference.name} at {options.sizes[-1]} px: J&F {before:.1f} in torch, {after:.1f} here; "
            f"mask IoU at least {min(kept):.4f} in {len(kept)} tracked frames (median {np.median(kept):.4f}), "
            f"{min(pair.agreement):.4f} in all {len(pair.agreement)}"
        )

    results = measure_accuracy(target, options, folder, measured, on_sequence=note)
    *_, median, lost = results
    reporter.note(f"median mask IoU of all: {median.measured:.4f}, limit {median.limit}")
    reporter.note(f"{lost.clip}; limit {lost.limit} points lost")
    require_passed(results)
    return results


def _sample_clip(options: BuildOptions) -> PromptedClip:
    return read_clip(sample_clip(), SAMPLE_SEQUENCE, frames=max(options.gate_frames, RECORDED_FRAMES + 1))


def _build_inputs(
    target: Target, options: BuildOptions, root: Path, clip: PromptedClip, measured: AccuracySet
) -> dict[str, str]:
    """Everything that decides the bytes of a build or the results of its gates."""
    inputs = {f"tool {name}": version for name, version in _tool_versions(target).items()}
    for folder in target.source_folders:
        files = [
            path for path in sorted((root / folder).rglob("*")) if path.suffix in (".py", ".swift", ".json", ".md")
        ]
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        inputs[f"source {folder}"] = digest.hexdigest()
    digest = hashlib.sha256(clip.mask.tobytes())
    for frame in clip.frames:
        digest.update(frame.tobytes())
    inputs[f"clip {clip.name}"] = digest.hexdigest()
    inputs["target"] = target.name
    inputs["accuracy set"] = accuracy_digest(measured)
    inputs["limits"] = repr(
        (GRAPH_LIMITS, LOWERING_LIMITS, CLIP_LIMITS, SEQUENCE_LIMITS, MEDIAN_LIMITS, ACCURACY_LIMITS)
    )
    inputs["checkpoint"] = checkpoint_hash(options.checkpoint)
    inputs["model card"] = hashlib.sha256(_model_card(options.checkpoint).read_bytes()).hexdigest()
    if needs_calibration(options.recipe):
        inputs["calibration"] = calibration_digest(options.checkpoint)
    inputs["options"] = repr(replace(options, out=Path(), checkpoint=Path(), workers=1, force=False))
    return inputs


def _tool_versions(target: Target) -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in target.tools}
    return versions | {"python": platform.python_version(), "sam2lite-mobile": __version__}


def _model_card(checkpoint: Path) -> Path:
    """The card beside a checkpoint, or the generic one of the repository for checkpoints without."""
    card = checkpoint.with_suffix(".md")
    return card if card.is_file() else repository_root() / "assets" / "weights" / "no_card.md"


def _outcome_line(outcome: GraphOutcome) -> str:
    worst: dict[str, float] = {}
    for gate in (each for each in outcome.gates if each.kind == "graph"):
        worst[gate.precision] = min(worst.get(gate.precision, float("inf")), gate.measured)
    levels = ", ".join(f"{precision} {value:.1f} dB" for precision, value in worst.items())
    return f"{outcome.id}: {levels} ({outcome.seconds:.0f} s)"
