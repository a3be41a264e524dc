"""Batches of clips with prompts, in a fixed order that depends on the seed and the step alone."""

from __future__ import annotations

import itertools
import logging
import signal
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sam2lite_mobile.errors import Sam2LiteError
from sam2lite_mobile.training.clip_batch import ClipBatch
from sam2lite_mobile.training.clips import ClipSource
from sam2lite_mobile.training.pack_index import check_shards, is_pack, read_index
from sam2lite_mobile.training.prompt_sampling import sample_prompt
from sam2lite_mobile.training.recipe import Phase, Recipe

PREFETCHED_BATCHES = 4
"""Batches that each worker process makes ahead."""
START_METHOD = "spawn"
"""How worker processes start: not as a fork of a process that has threads (torch, TensorBoard), which can hang."""


@dataclass(frozen=True)
class StepItem:
    """What a worker makes for a step: its batch, or the error that stopped it, and a line for each draw skipped.

    An error of the data is given back, not raised: a worker process would wrap a traceback into its message.
    """

    batch: ClipBatch | Sam2LiteError
    reports: tuple[str, ...]


class StepDataset(Dataset[StepItem]):
    """One item is that of one step of a phase. Its batch is a function of (recipe seed, phase, step)."""

    def __init__(self, data_root: Path, recipe: Recipe, phase_index: int, rows: range | None = None) -> None:
        """rows: which clips of every batch are made; None for all."""
        self.recipe = recipe
        self.phase: Phase = recipe.phases[phase_index]
        self.phase_index = phase_index
        self.data_root = data_root
        self.rows = range(recipe.batch_clips) if rows is None else rows
        self.sources: dict[int, ClipSource] = {}

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> StepItem:
        batch: ClipBatch | Sam2LiteError
        try:
            batch = self.batch(step)
        except Sam2LiteError as error:
            batch = error
        return StepItem(batch, tuple(line for source in self.sources.values() for line in source.take_reports()))

    def batch(self, step: int) -> ClipBatch:
        """The rows of the batch of a step. Raises what `ClipSource.clip` raises.

        A clip and its prompts do not depend on the other rows, so that processes which share a batch between them make
        what one would have made.
        """
        key = (self.recipe.seed, self.phase_index, step)
        rng = np.random.default_rng(key)
        size = int(rng.choice(self.phase.sizes))
        corrected = int(rng.integers(1, self.phase.frames))
        frames, masks, points, labels = [], [], [], []
        for row in self.rows:
            clip = self.source(size).clip(step * self.recipe.batch_clips + row)
            of_row = np.random.default_rng((*key, row))
            prompts = [sample_prompt(clip.masks[t], of_row) for t in (0, corrected)]
            frames.append(clip.frames)
            masks.append(clip.masks)
            points.append(np.stack([p for p, _ in prompts]))
            labels.append(np.stack([label for _, label in prompts]))
        stacked = [torch.from_numpy(np.stack(x)) for x in (frames, masks, points, labels)]
        return ClipBatch(
            stacked[0],
            stacked[1],
            stacked[2],
            stacked[3],
            corrected,
            first_row=self.rows.start,
            all_rows=self.recipe.batch_clips,
        )

    def source(self, size: int) -> ClipSource:
        """Clips of an input size. Built on first use, in the worker; sizes and phases share the decoded images."""
        if size not in self.sources:
            settings = self.phase.clip_settings(size)
            seed = self.recipe.seed * 1000 + self.phase_index
            self.sources[size] = ClipSource(self.data_root, settings, seed=seed, hold_out=self.recipe.hold_out)
        return self.sources[size]


def check_data(data_root: Path, recipe: Recipe) -> None:
    """Raise DataError unless the folder has the videos, stills and held-out sequences that a recipe needs.

    The shards of a pack must have the hashes that its index gives.
    """
    if is_pack(data_root):
        check_shards(data_root, read_index(data_root))
    for index, phase in enumerate(recipe.phases):
        StepDataset(data_root, recipe, index).source(phase.sizes[0])


def warn(report: str) -> None:
    """Log a draw that was skipped; without other settings, Python's logging writes warnings to stderr."""
    logging.getLogger(__name__).warning("training data: %s", report)


def iterate_steps(
    data_root: Path,
    recipe: Recipe,
    steps: range,
    *,
    workers: int,
    rows: range | None = None,
    on_skipped: Callable[[str], None] = warn,
) -> Generator[ClipBatch, None, None]:
    """Batches of these steps, in order, made ahead by `workers` processes; `rows` of them, or all. No others are made.

    on_skipped: told a line for each draw that was skipped because a file is broken, before the batch comes. Raises
    DataError where too many are. Closing the generator ends the processes.
    """
    for index, taken in itertools.groupby(steps, key=lambda step: recipe.phase_at(step)[0]):
        loader = DataLoader(
            StepDataset(data_root, recipe, index, rows),
            batch_size=None,
            sampler=list(taken),
            num_workers=workers,
            prefetch_factor=PREFETCHED_BATCHES if workers else None,
            multiprocessing_context=START_METHOD if workers else None,
            worker_init_fn=ignore_interrupts,
        )
        for item in loader:
            for report in item.reports:
                on_skipped(report)
            if isinstance(item.batch, Sam2LiteError):
                raise item.batch
            yield item.batch


def ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to every process of the command, to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
