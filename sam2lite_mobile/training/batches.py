"""Batches of clips with prompts, in a fixed order that depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from sam2lite_mobile.training.clip_forward import ClipBatch
from sam2lite_mobile.training.clip_settings import ClipSettings
from sam2lite_mobile.training.clips import ClipSource
from sam2lite_mobile.training.prompt_sampling import sample_prompt
from sam2lite_mobile.training.recipe import Phase, Recipe


class StepDataset(Dataset[ClipBatch]):
    """One item is the batch of one step of a phase. Item `step` is a function of (recipe seed, phase, step)."""

    def __init__(self, data_root: Path, recipe: Recipe, phase_index: int) -> None:
        self.recipe = recipe
        self.phase: Phase = recipe.phases[phase_index]
        self.phase_index = phase_index
        self.data_root = data_root
        self.sources: dict[int, ClipSource] = {}

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> ClipBatch:
        rng = np.random.default_rng((self.recipe.seed, self.phase_index, step))
        size = int(rng.choice(self.phase.sizes))
        frames, masks, points, labels = [], [], [], []
        corrected = int(rng.integers(1, self.phase.frames))
        for i in range(self.recipe.batch_clips):
            clip = self._source(size).clip(step * self.recipe.batch_clips + i)
            prompts = [sample_prompt(clip.masks[t], rng) for t in (0, corrected)]
            frames.append(clip.frames)
            masks.append(clip.masks)
            points.append(np.stack([p for p, _ in prompts]))
            labels.append(np.stack([label for _, label in prompts]))
        stacked = [torch.from_numpy(np.stack(x)) for x in (frames, masks, points, labels)]
        return ClipBatch(stacked[0], stacked[1], stacked[2], stacked[3], corrected)

    def _source(self, size: int) -> ClipSource:
        """Built on first use, in the worker, one for each size: decoded images are shared through `ClipSource`."""
        if size not in self.sources:
            settings = ClipSettings(size_px=size, frames=self.phase.frames, video_share=self.phase.video_share)
            seed = self.recipe.seed * 1000 + self.phase_index
            self.sources[size] = ClipSource(self.data_root, settings, seed=seed, hold_out=self.recipe.hold_out)
        return self.sources[size]


def iterate_steps(data_root: Path, recipe: Recipe, first_step: int, *, workers: int) -> Iterator[ClipBatch]:
    """Batches from `first_step` to the end of the run; batches are made `workers` processes ahead."""
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
            prefetch_factor=4 if workers else None,
        )
        for batch in loader:
            yield batch
            step += 1
