"""Batches of clips with prompts, in a fixed order that depends on the seed and the step alone."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sam2lite_mobile.errors import Sam2LiteError
from sam2lite_mobile.training.clip_forward import ClipBatch
from sam2lite_mobile.training.clip_settings import ClipSettings
from sam2lite_mobile.training.clips import ClipSource
from sam2lite_mobile.training.prompt_sampling import sample_prompt
from sam2lite_mobile.training.recipe import Phase, Recipe

PREFETCHED_BATCHES = 4
"""Batches that each worker process makes ahead."""
START_METHOD = "spawn"
"""How worker processes start: not as a fork of a process that has threads (torch, TensorBoard), which can hang."""


class StepDataset(Dataset[ClipBatch | Sam2LiteError]):
    """One item is the batch of one step of a phase. Item `step` is a function of (recipe seed, phase, step).

    An error of the data is given back, not raised: a worker process would wrap a traceback into its message.
    """

    def __init__(self, data_root: Path, recipe: Recipe, phase_index: int) -> None:
        self.recipe = recipe
        self.phase: Phase = recipe.phases[phase_index]
        self.phase_index = phase_index
        self.data_root = data_root
        self.sources: dict[int, ClipSource] = {}

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> ClipBatch | Sam2LiteError:
        try:
            return self.batch(step)
        except Sam2LiteError as error:
            return error

    def batch(self, step: int) -> ClipBatch:
        """The batch of a step. Raises what `ClipSource.clip` raises."""
        rng = np.random.default_rng((self.recipe.seed, self.phase_index, step))
        size = int(rng.choice(self.phase.sizes))
        frames, masks, points, labels = [], [], [], []
        corrected = int(rng.integers(1, self.phase.frames))
        for i in range(self.recipe.batch_clips):
            clip = self.source(size).clip(step * self.recipe.batch_clips + i)
            prompts = [sample_prompt(clip.masks[t], rng) for t in (0, corrected)]
            frames.append(clip.frames)
            masks.append(clip.masks)
            points.append(np.stack([p for p, _ in prompts]))
            labels.append(np.stack([label for _, label in prompts]))
        stacked = [torch.from_numpy(np.stack(x)) for x in (frames, masks, points, labels)]
        return ClipBatch(stacked[0], stacked[1], stacked[2], stacked[3], corrected)

    def source(self, size: int) -> ClipSource:
        """Clips of an input size. Built on first use, in the worker; sizes and phases share the decoded images."""
        if size not in self.sources:
            settings = ClipSettings(size_px=size, frames=self.phase.frames, video_share=self.phase.video_share)
            seed = self.recipe.seed * 1000 + self.phase_index
            self.sources[size] = ClipSource(self.data_root, settings, seed=seed, hold_out=self.recipe.hold_out)
        return self.sources[size]


def check_data(data_root: Path, recipe: Recipe) -> None:
    """Raise DataError unless the folder has the videos, stills and held-out sequences that a recipe needs."""
    for index, phase in enumerate(recipe.phases):
        StepDataset(data_root, recipe, index).source(phase.sizes[0])


def iterate_steps(
    data_root: Path, recipe: Recipe, first_step: int, *, workers: int
) -> Generator[ClipBatch, None, None]:
    """Batches from `first_step` to the end of the run, made ahead by `workers` processes.

    Raises DataError for broken data. Closing the generator ends the processes.
    """
    step = first_step
    while step < recipe.steps:
        index, _ = recipe.phase_at(step)
        end = step
        while end < recipe.steps and recipe.phase_at(end)[0] == index:
            end += 1
        loader = DataLoader(
            StepDataset(data_root, recipe, index),
            batch_size=None,
            sampler=range(step, end),
            num_workers=workers,
            prefetch_factor=PREFETCHED_BATCHES if workers else None,
            multiprocessing_context=START_METHOD if workers else None,
            worker_init_fn=ignore_interrupts,
        )
        for batch in loader:
            if isinstance(batch, Sam2LiteError):
                raise batch
            yield batch
            step += 1


def ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to every process of the command, to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
