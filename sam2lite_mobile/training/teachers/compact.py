"""A large teacher's frame at the resolution that a student can use.

SAM 2 at 1024 px attends from 4,096 queries to up to 28,736 tokens: 470 MB a frame in float32. A student has a query for
every 16 pixels of its own input and a 16 x 16 grid for every remembered frame, and alignment averages and sums onto
these grids anyway. Both steps are linear, so doing them early changes nothing but the size.
"""

from __future__ import annotations

from dataclasses import replace

from sam2lite_mobile import contract
from sam2lite_mobile.training.alignment import MEMORY_GRID, pool_mass, pool_queries
from sam2lite_mobile.training.teachers.teacher import TeacherFrame


def compact_frame(frame: TeacherFrame, *, size: int) -> TeacherFrame:
    """The frame with queries on the grid of a student at input size `size`, and placed tokens on 16 x 16.

    Only what is finer is brought to these grids: nothing grows.
    """
    side = size // contract.STRIDE
    grid = (min(frame.query_grid[0], side), min(frame.query_grid[1], side))
    attention = pool_queries(frame.attention, frame.query_grid, to=grid)
    readout = pool_queries(frame.readout, frame.query_grid, to=grid)
    spans = frame.spans
    if any(span.grid is not None and span.tokens > contract.TOKENS_PER_FRAME for span in spans):
        attention, spans = pool_mass(attention, spans, to=MEMORY_GRID)
    return replace(frame, attention=attention, spans=spans, query_grid=grid, readout=readout)
