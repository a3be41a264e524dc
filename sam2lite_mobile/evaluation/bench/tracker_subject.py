"""The tracker as a subject: its graphs are timed inside the engine, everything else is the host."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sam2lite_mobile.contract import GRAPHS, all_graph_specs
from sam2lite_mobile.engines.wrapper import EngineWrapper
from sam2lite_mobile.errors import DataError, explain
from sam2lite_mobile.evaluation.bench.clip import Clip
from sam2lite_mobile.evaluation.bench.clocks import ZERO, Stopwatch, now
from sam2lite_mobile.evaluation.bench.subjects import HOST, TOTAL, FrameTimes, SubjectFacts, Variant
from sam2lite_mobile.runtime.engine import Engine
from sam2lite_mobile.runtime.prompts import Prompt
from sam2lite_mobile.runtime.tracker import Tracker

FILL_FRAMES = 10
"""Frames before the first timed one: they fill the bank and the longest memory window."""
HOST_STAGES = ("resize", "motion", "bank", "masks")
"""Stages of the tracker that are NumPy alone; what is left of the host is mostly the check of the graphs' outputs."""
SCOPE = (
    "one Tracker.step with one object and a full bank, from a decoded frame (uint8) to the mask at the frame's size; "
    "a graph: the engine's run with its copies; host: everything outside the engine, all of it NumPy"
)


class TimedEngine(EngineWrapper):
    """An engine whose runs are added to a stopwatch, by graph; loading and warming up are not timed."""

    def __init__(self, engine: Engine, watch: Stopwatch) -> None:
        super().__init__(engine)
        self._watch = watch
        specs = all_graph_specs(engine.sizes, bank_tokens=engine.bank_tokens)
        self._graphs = {spec.id: spec.graph for spec in specs}

    def run(self, graph_id: str, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """The engine's outputs."""
        with self._watch.part(self._graphs[graph_id]):
            return super().run(graph_id, tensors)


class TrackerSubject:
    """The tracker on an engine, with an object that is given as a mask in the first frame of the clip.

    parameters: of all graphs, None where it is not known. variant, disk_bytes, checkpoint_sha256: see `SubjectFacts`.
    objects: that object under so many ids; each costs what any other object would. Loads and warms up the engine.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        clip: Clip,
        *,
        size: int,
        parameters: int | None = None,
        variant: Variant | None = None,
        disk_bytes: int | None = None,
        checkpoint_sha256: str | None = None,
        objects: int = 1,
    ) -> None:
        engine.warm_up(size)
        self._clip = clip
        self._watch = Stopwatch()
        self._tracker = Tracker(TimedEngine(engine, self._watch), size=size)
        self._next = 0
        self._objects = range(1, objects + 1)
        self._held_tokens = 0
        self._facts = SubjectFacts(
            name=name,
            size=size,
            parameters=parameters,
            bank_tokens=engine.bank_tokens,
            engine=engine.describe(),
            scope=SCOPE,
            variant=variant,
            disk_bytes=disk_bytes,
            checkpoint_sha256=checkpoint_sha256,
        )

    @property
    def facts(self) -> SubjectFacts:
        """What it is."""
        return self._facts

    def prepare(self) -> None:
        """Run frames until every bank is full. Raises DataError if one stays short: the object was lost on the clip."""
        for _ in range(FILL_FRAMES):
            self.step()
        if self._held_tokens != self._facts.bank_tokens:
            raise DataError(
                explain(
                    f"{self._facts.name} on the clip",
                    expected=f"a bank of {self._facts.bank_tokens} tokens, full after {FILL_FRAMES} frames",
                    got=self._held_tokens,
                    do="use weights that keep the object of the sample clip in view",
                )
            )

    def step(self) -> FrameTimes:
        """Run the next frame."""
        frame = self._clip.frame(self._next)
        shown = Prompt.from_mask(self._clip.mask)
        prompts = dict.fromkeys(self._objects, shown) if self._next == 0 else None
        self._watch.take()  # what a frame that raised left behind
        started = now()
        result = self._tracker.step(frame, prompts=prompts)
        total = now() - started
        self._next += 1
        graphs = self._watch.take()
        parts = {graph: graphs[graph] for graph in GRAPHS if graph in graphs}
        parts[HOST] = total - sum(parts.values(), ZERO)
        parts[TOTAL] = total
        tracked = result.objects.values()
        self._held_tokens = min(sum(each.tokens_by_age.values()) for each in tracked)
        remembered = all(each.visible for each in tracked)
        return FrameTimes(parts, {stage: result.latency_ms[stage] for stage in HOST_STAGES}, remembered)
